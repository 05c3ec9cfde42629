"""Networks called with weights given as a dictionary, and the statistics that flow into their BatchNorm layers."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from purer_lightning.compute.precision import widened
from purer_lightning.nets.skeletons import Skeletons
from purer_lightning.nets.statistics import Statistics

Weights = dict[str, Tensor]
"""Parameters, and BatchNorm buffers where they are given, by their names in the network."""

PLAIN = Skeletons()


class Output(NamedTuple):
    """What one forward pass of a network gives.

    Attributes:
        logits: (N, classes), in at least float32.
        features: what the linear head is given, (N, D), in at least float32; None where a network has no ``features``
            and ``head``.
        statistics: of every BatchNorm layer's input, in at least float32; empty where they were not asked for.
    """

    logits: Tensor
    features: Tensor | None
    statistics: Statistics


def run(
    network: nn.Module,
    weights: Mapping[str, Tensor],
    images: Tensor,
    *,
    statistics: bool = False,
    training: bool | None = None,
    skeletons: Skeletons = PLAIN,
) -> Output:
    """Call a network with ``weights`` in the place of its own. The network stays as it is; any thread may call.

    Args:
        network: what is called. Weights that are not given are its own.
        weights: by name; names of BatchNorm buffers are allowed where the layers keep none, too.
        images: (N, C, H, W).
        statistics: collect mean and biased variance of every BatchNorm input.
        training: the mode of the call; None for the network's own.
        skeletons: the structures that are called in the network's place.

    Raises:
        KeyError: a name that the network does not have.
    """
    with skeletons.lent(network, weights, statistics=statistics, training=training) as (structure, collected):
        called: Any = structure
        if not (hasattr(structure, "features") and hasattr(structure, "head")):
            return Output(widened(called(images)), None, collected)
        features: Tensor = called.features(images)
        return Output(widened(called.head(features)), widened(features), collected)


def logits(network: nn.Module, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Return ``run(...).logits``."""
    return run(network, weights, images).logits


def features(network: nn.Module, weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Return ``run(...).features`` of a network that has them."""
    found = run(network, weights, images).features
    assert found is not None
    return found


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
