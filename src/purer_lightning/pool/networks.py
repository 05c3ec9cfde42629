"""Weights that shall be of a named network: everything that can be wrong with them, found before they are used."""

import re

import torch
from torch import Tensor, nn

from purer_lightning.errors import PurerError
from purer_lightning.nets import NetworkSpec

AGAIN = "Make it again with `purer pretrain`, or put a good one there with `purer pool add`."


def checked_network(weights: dict[str, Tensor], spec: NetworkSpec, where: str) -> nn.Module:
    """Return the network of ``spec`` with these weights, frozen and in evaluation mode.

    Args:
        weights: state_dict, float32 (BatchNorm's batch counters int64).
        spec: what the weights should be of.
        where: how to call the teacher in an error.

    Raises:
        PurerError: unknown architecture, wrong names or shapes, a head of another size, values not finite, a running
            variance that is not positive.
    """
    try:
        with torch.device("meta"):  # no memory, and nothing drawn from the global generator
            network = spec.build(running_statistics=True).float()  # whatever precision a Trainer builds its own in
    except PurerError as error:
        raise PurerError(f"{where}: {error}") from error
    _check_shapes(weights, network.state_dict(), spec, where)
    for name, tensor in weights.items():
        _check_values(name, tensor, where)
    network.load_state_dict(weights, assign=True)
    return network.requires_grad_(False).eval()


def _check_shapes(found: dict[str, Tensor], expected: dict[str, Tensor], spec: NetworkSpec, where: str) -> None:
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unknown:
        raise PurerError(
            f"{where}: its tensors are not those of {described(spec)}: missing {_some(missing)}, unexpected "
            f"{_some(unknown)}. Name the architecture that it is of, or rename its tensors."
        )
    outputs = found["head.weight"].shape[0] if found["head.weight"].dim() else 0
    if outputs != spec.classes:
        raise PurerError(
            f"{where}: its head has {outputs} outputs, but {spec.classes} classes are named for it. "
            "Name exactly one class for each output, in the order of the outputs."
        )
    for name, tensor in expected.items():
        if (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype):
            raise PurerError(
                f"{where}: '{name}' is {_tensor(found[name])}, but {described(spec)} for {spec.channels} x "
                f"{spec.image_size} x {spec.image_size} images has {_tensor(tensor)}. "
                "Give the architecture, arguments and image size that it was trained with."
            )


def _check_values(name: str, tensor: Tensor, where: str) -> None:
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise PurerError(f"{where}: '{name}' has {bad} values that are NaN or infinite. {AGAIN}")
    if name.endswith("running_var") and bool((tensor <= 0).any()):
        raise PurerError(
            f"{where}: '{name}' has a variance of {float(tensor.min()):g}, but BatchNorm's running variances are "
            f"positive. {AGAIN}"
        )


def described(spec: NetworkSpec) -> str:
    """Return a network's name with its arguments, for people."""
    arguments = ", ".join(f"{name} {value}" for name, value in spec.arguments.items())
    return f"{spec.architecture} ({arguments})" if arguments else spec.architecture


def _some(names: list[str]) -> str:
    return (", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")) or "none"


def _tensor(tensor: Tensor) -> str:
    return f"{re.sub('torch[.]', '', str(tensor.dtype))} {tuple(tensor.shape)}"
