"""What all teachers of a pool say of any image, not only of those of their own classes."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from purer_lightning.compute.backend import PLAIN, Backend

CHUNK = 256  # images a forward pass: activations of a chunk stay small, and more is not faster on a CPU


class Judges:
    """The teachers' networks as one function from images to all their logits, or all their features.

    Each network is copied with its BatchNorm folded into the convolution before it, which is exact up to rounding (the
    statistics of a frozen teacher are constants) and saves a pass over every activation.

    Args:
        networks: frozen classifiers in eval mode, one a teacher.
        backend: how they are called.

    Attributes:
        sizes: outputs of each teacher, in the order of the pool.
        width: features of all teachers.
    """

    def __init__(self, networks: Sequence[nn.Module], backend: Backend = PLAIN) -> None:
        self.backend = backend
        self.networks: list[Any] = [folded(network) for network in networks]
        self.sizes: list[int] = [network.head.out_features for network in self.networks]
        self.width: int = sum(network.head.in_features for network in self.networks)

    def to(self, like: Tensor) -> "Judges":
        """Give the copies ``like``'s device and dtype, and the memory format that convolutions are fastest in."""
        for network in self.networks:
            network.to(device=like.device, dtype=like.dtype, memory_format=torch.channels_last)
        return self

    def __call__(self, images: Tensor) -> Tensor:
        """Return all teachers' logits side by side, (N, sum of sizes), of images (N, C, H, W); differentiable."""
        return self.logits_and_features(images)[0]

    def features(self, images: Tensor) -> Tensor:
        """Return what all teachers' linear heads are given, side by side, (N, D); differentiable."""
        return self.logits_and_features(images)[1]

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what ``__call__`` and ``features`` do, from one forward pass a teacher, in at least float32."""
        logits, features = [], []
        for chunk in torch.split(images.contiguous(memory_format=torch.channels_last), CHUNK):
            outputs = [self.backend.run(network, {}, chunk) for network in self.networks]
            logits.append(torch.cat([output.logits for output in outputs], dim=1))
            features.append(torch.cat([output.features for output in outputs if output.features is not None], dim=1))
        return torch.cat(logits), torch.cat(features)


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
