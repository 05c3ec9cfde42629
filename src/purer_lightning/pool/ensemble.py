"""What all teachers of a pool say of any image, not only of those of their own classes."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from purer_lightning.nets.functional import twin

CHUNK = 256  # images a forward pass: activations of a chunk stay small, and more is not faster on a CPU


class Judges:
    """The teachers' networks as one function from images to all their logits, or all their features.

    Each network is copied with its BatchNorm folded into the convolution before it, which is exact up to rounding (the
    statistics of a frozen teacher are constants) and saves a pass over every activation.

    Args:
        networks: frozen classifiers in eval mode, one a teacher.

    Attributes:
        sizes: outputs of each teacher, in the order of the pool.
        width: features of all teachers.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.networks: list[Any] = [folded(network) for network in networks]
        self.sizes: list[int] = [network.head.out_features for network in self.networks]
        self.width: int = sum(network.head.in_features for network in self.networks)

    def twin(self) -> "Judges":
        """Return the same judges for another thread, on the same memory."""
        other = copy.copy(self)
        other.networks = [twin(network) for network in self.networks]
        return other

    def to(self, like: Tensor) -> "Judges":
        """Give the copies ``like``'s device and dtype, and the memory format that convolutions are fastest in."""
        for network in self.networks:
            network.to(device=like.device, dtype=like.dtype, memory_format=torch.channels_last)
        return self

    def __call__(self, images: Tensor) -> Tensor:
        """Return all teachers' logits side by side, (N, sum of sizes), of images (N, C, H, W); differentiable."""
        return self._side_by_side(self.networks, images)

    def features(self, images: Tensor) -> Tensor:
        """Return what all teachers' linear heads are given, side by side, (N, D); differentiable."""
        return self._side_by_side([network.features for network in self.networks], images)

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what ``__call__`` and ``features`` do, from one forward pass a teacher."""
        features = [self._side_by_side([network.features], images) for network in self.networks]
        logits = [network.head(own) for network, own in zip(self.networks, features, strict=True)]
        return torch.cat(logits, dim=1), torch.cat(features, dim=1)

    def _side_by_side(self, functions: Sequence[Callable[[Tensor], Tensor]], images: Tensor) -> Tensor:
        chunks = torch.split(images.contiguous(memory_format=torch.channels_last), CHUNK)
        return torch.cat([torch.cat([function(chunk) for function in functions], dim=1) for chunk in chunks])


def folded(network: nn.Module) -> nn.Module:
    """Return a copy in which each BatchNorm that follows a convolution in a sequence is folded into it."""
    network = copy.deepcopy(network).eval()
    for sequence in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for place in range(len(sequence) - 1):
            first, second = sequence[place], sequence[place + 1]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                sequence[place] = fuse_conv_bn_eval(first, second)
                sequence[place + 1] = nn.Identity()
    return network.requires_grad_(False)


def by_teacher(logits: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """Cut (N, sum of sizes) into (N, size) a teacher."""
    return torch.split(logits, list(sizes), dim=1)


def centred(logits: Tensor, sizes: Sequence[int]) -> Tensor:
    """Subtract each teacher's mean logit, which its softmax does not see, from (N, sum of sizes)."""
    return torch.cat([own - own.mean(dim=1, keepdim=True) for own in by_teacher(logits, sizes)], dim=1)


def spread(logits: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the standard deviation of each teacher's logits, repeated for its outputs: (sum of sizes,)."""
    return torch.cat([own.std().expand(own.shape[1]) for own in by_teacher(logits, sizes)])
