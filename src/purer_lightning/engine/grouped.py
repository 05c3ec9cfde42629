"""Several networks of one structure in one call: convolutions in groups, so that each keeps its channels to itself.

Networks stand side by side in the channels: images (networks, N, C, H, W) are computed as (N, networks * C, H, W).
Whatever works on each channel by itself (BatchNorm, ReLU, pooling, the mean over positions) then needs no change.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from purer_lightning.nets import functional as nets
from purer_lightning.nets.conv4 import Conv4
from purer_lightning.nets.functional import Weights
from purer_lightning.nets.resnet import ResNet
from purer_lightning.nets.statistics import Statistics

GROUPABLE = (Conv4, ResNet)  # beside their convolutions and their head, they work on each channel by itself

Structure = tuple[type[nn.Module], tuple[tuple[str, torch.Size], ...]]


def structure_of(network: nn.Module) -> Structure:
    """Return what networks have in common that can be computed together: the class, and names and shapes of weights."""
    return type(network), tuple((name, value.shape) for name, value in network.state_dict().items())


def stacked(networks: list[nn.Module]) -> Weights:
    """Return copies of the parameters and buffers of networks of one structure, each with the networks in front."""
    states = [network.state_dict() for network in networks]
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


class Grouped:
    """The structure of a network, to be called with several sets of weights at once.

    Args:
        network: one of ``GROUPABLE``; its weights are left alone, and its mode is kept.
        count: how many sets of weights a call has.
    """

    def __init__(self, network: nn.Module, count: int) -> None:
        self.count = count
        memo = {id(value): value.to("meta") for value in [*network.parameters(), *network.buffers()]}
        self._structure: nn.Module = copy.deepcopy(network, memo)  # shapes alone: no second set of weights
        for module in self._structure.modules():
            if isinstance(module, nn.Conv2d):
                module.groups *= count
        self._structure.head = nn.Identity()  # theirs are matrices, which ``head`` multiplies

    def run(self, weights: Weights, images: Tensor, *, statistics: bool = False) -> tuple[Tensor, Statistics]:
        """Return features (count, N, D), and the statistics of every BatchNorm input, each (count, channels).

        Args:
            weights: by the network's names, each with ``count`` in front.
            images: (count, N, C, H, W); the nth are for the nth weights.
            statistics: collect them; else none are returned.
        """
        side_by_side = images.transpose(0, 1).flatten(1, 2)
        flat = {name: value.flatten(0, 1) for name, value in weights.items() if is_side_by_side(name, value)}
        output = nets.run(self._structure, flat, side_by_side, statistics=statistics)
        features = output.logits.view(len(output.logits), self.count, -1).transpose(0, 1)
        return features, {
            name: (mean.view(self.count, -1), variance.view(self.count, -1))
            for name, (mean, variance) in output.statistics.items()
        }

    def features(self, weights: Weights, images: Tensor) -> Tensor:
        """Return features (count, N, D); the arguments are those of ``run``."""
        return self.run(weights, images)[0]

    def logits(self, weights: Weights, images: Tensor) -> Tensor:
        """Return logits (count, N, classes); the arguments are those of ``run``."""
        return head(weights, self.features(weights, images))


def head(weights: Weights, features: Tensor) -> Tensor:
    """Return what the linear heads (count, classes, D) make of features (count, N, D): (count, N, classes)."""
    return torch.baddbmm(weights["head.bias"].unsqueeze(1), features, weights["head.weight"].transpose(1, 2))


def is_side_by_side(name: str, value: Tensor) -> bool:
    """Whether a weight is one of channels: not the head's, and not a layer's count of batches."""
    return not name.startswith("head.") and value.dim() > 1


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each network's mean over its images (count,) of logits (count, N, classes) and common labels (N,)."""
    each = F.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)), reduction="none")
    return each.view(logits.shape[:2]).mean(dim=1)
