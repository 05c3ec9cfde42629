"""Networks called with weights given as a dictionary, and the statistics that flow into their BatchNorm layers."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from purer_lightning.compute.precision import widened

Module = TypeVar("Module", bound=nn.Module)

Weights = dict[str, Tensor]
"""Parameters, and BatchNorm buffers where they are given, by their names in the network."""

Statistics = dict[str, tuple[Tensor, Tensor]]
"""Name of a BatchNorm layer -> mean and biased variance of its input, each (channels,)."""


def twin(network: Module) -> Module:
    """Return the same structure on the same memory: for another thread, since a call with weights changes a module.

    Parameters and buffers are tensors of its own that share their values with the network's, but no graph; hooks and
    what else it keeps in dictionaries are copies.
    """
    other = network.__new__(type(network))
    other.__dict__ = {name: kept.copy() if isinstance(kept, dict) else kept for name, kept in vars(network).items()}
    for name, parameter in network._parameters.items():
        if parameter is not None:
            other._parameters[name] = nn.Parameter(parameter.detach(), parameter.requires_grad)
    for name, buffer in network._buffers.items():
        if buffer is not None:
            other._buffers[name] = buffer.detach()
    for name, child in network._modules.items():
        if child is not None:
            other._modules[name] = twin(child)
    return other


def logits(network: nn.Module, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Return logits (N, classes), in at least float32, of images (N, C, H, W), ``weights`` replacing the network's."""
    with lent(network, weights):
        output: Tensor = network(images)
    return widened(output)


def features(network: nn.Module, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Return the features before the linear head (N, D), likewise, of images (N, C, H, W) under ``weights``."""
    called: Any = network
    with lent(network, weights):
        output: Tensor = called.features(images)
    return widened(output)


@contextmanager
def lent(network: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Let ``weights`` be the network's own inside the ``with`` block.

    ``torch.func.functional_call`` does so, too, but takes a quarter of a small batch's time: it looks for tensors of
    two names, of which no network here has any.

    Raises:
        KeyError: a name that the network does not have.
    """
    places = [_place(network, name) for name in weights]
    own = [tensors[name] for tensors, name in places]
    try:
        for (tensors, name), value in zip(places, weights.values(), strict=True):
            tensors[name] = value
        yield
    finally:
        for (tensors, name), kept in zip(places, own, strict=True):
            tensors[name] = kept


def _place(network: nn.Module, name: str) -> tuple[dict[str, Any], str]:
    *path, last = name.split(".")
    module: Any = network
    for part in path:
        module = module._modules[part]
    return (module._parameters if last in module._parameters else module._buffers), last


def channel_statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance over all but the channels of (N, C, H, W), each (C,).

    Differentiable to any order, and faster on a CPU than autograd through ``torch.var_mean``: benchmarks/README.md.
    """
    mean, variance = _ChannelStatistics.apply(values)  # type: ignore[no-untyped-call]
    return mean, variance


class ReportsStatistics:
    """A block that computes its BatchNorm layer's input statistics itself, so that a hook would see nothing.

    Attributes:
        norm: the layer's name within the block.
        report: called with mean and biased variance in each forward pass; None where nobody asks.
    """

    norm: str = "1"
    report: Callable[[tuple[Tensor, Tensor]], None] | None = None


@contextmanager
def batchnorm_statistics(network: nn.Module) -> Iterator[Statistics]:
    """Collect the statistics of every BatchNorm input in forward passes inside the ``with`` block.

    Computed in at least float32, since a variance overflows in float16. The hooks are removed at the end.
    """
    collected: Statistics = {}

    def hook_for(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            collected[name] = channel_statistics(widened(inputs[0]))

        return hook

    handles, blocks = [], []
    for name, module in _reporting(network):
        if isinstance(module, ReportsStatistics):
            module.report = partial(collected.__setitem__, f"{name}.{module.norm}")
            blocks.append(module)
        else:
            handles.append(module.register_forward_pre_hook(hook_for(name)))
    try:
        yield collected
    finally:
        for handle in handles:
            handle.remove()
        for block in blocks:
            block.report = None


def _reporting(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the BatchNorm layers, and the blocks that report for theirs, by name."""
    if isinstance(module, nn.BatchNorm2d | ReportsStatistics):
        yield name, module
        return
    for child_name, child in module.named_children():
        yield from _reporting(child, f"{name}.{child_name}" if name else child_name)


def running_statistics(network: nn.Module) -> Statistics:
    """Return what each BatchNorm layer of a teacher remembers of its training data; empty without BatchNorm."""
    return {
        name: (module.running_mean, module.running_var)
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None
    }


def as_buffers(statistics: Statistics) -> Weights:
    """Name statistics as the buffers of a network that keeps running statistics."""
    return {f"{name}.running_mean": mean for name, (mean, _) in statistics.items()} | {
        f"{name}.running_var": variance for name, (_, variance) in statistics.items()
    }


class _ChannelStatistics(torch.autograd.Function):
    """Two-pass mean and variance, whose gradient is one affine map a channel: a * x + b."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> tuple[Tensor, Tensor]:
        mean = values.mean(dim=(0, 2, 3), keepdim=True)
        variance = (values - mean).square_().mean(dim=(0, 2, 3))
        ctx.save_for_backward(values)
        return mean.flatten(), variance

    @staticmethod
    def backward(ctx: Any, to_mean: Tensor, to_variance: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        count = values.numel() // values.shape[1]
        # d variance / d x = 2 (x - mean) / count; the mean is taken anew so that this can be differentiated again.
        slope = to_variance * (2 / count)
        offset = to_mean / count - slope * values.mean(dim=(0, 2, 3))
        return torch.addcmul(offset.view(-1, 1, 1), values, slope.view(-1, 1, 1))
