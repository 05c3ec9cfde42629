"""What answering a query costs: weights, and multiply-accumulates of one image, counted and not estimated."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from purer_lightning.nets import NetworkSpec

Representation = Literal["features", "logits"]
"""Which output of a network represents an image: the features before its linear head, or the logits after it."""


class Cost(NamedTuple):
    """What it takes to answer one query image, adaptation left out.

    Attributes:
        parameters: weights that play a part; BatchNorm's statistics are none.
        macs: multiply-accumulates of convolutions and linear layers; biases, BatchNorm, pooling and ReLU are left out.
        width: numbers that come out.
    """

    parameters: int
    macs: int
    width: int


def network_cost(spec: NetworkSpec, representation: Representation = "logits") -> Cost:
    """Count by a shape-only forward pass on torch's meta device.

    Args:
        spec: the network.
        representation: what is asked of it; for "features" its linear head plays no part.
    """
    with torch.device("meta"):
        network: Any = spec.build(running_statistics=True).eval()
        image = torch.empty(1, spec.channels, spec.image_size, spec.image_size)
    macs = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        # Each output is a sum over one filter, or one row of the matrix.
        macs += output.numel() * module.weight[0].numel()  # type: ignore[index]

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    output: Tensor = network(image) if representation == "logits" else network.features(image)
    left_out = () if representation == "logits" else network.head.parameters()
    parameters = _numbers(network.parameters()) - _numbers(left_out)
    return Cost(parameters, macs, output.shape[1])


def with_classifier(networks: Iterable[Cost], way: int) -> Cost:
    """Sum networks whose outputs are concatenated and go through one matrix (width, way): centroids, or a fitted head.

    A distance is counted as a product: one multiply-accumulate a number and class.
    """
    parameters, macs, width = (sum(column) for column in zip(*networks, strict=True))
    return Cost(parameters + width * way, macs + width * way, way)


def _numbers(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)
