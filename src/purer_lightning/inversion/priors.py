"""What makes a pseudo image image-like: the priors of inversion, ours and the base of everybody's (PURER, EI).

A prior looks at one network's batch and returns a scalar that the images are to make small.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from purer_lightning.errors import PurerError
from purer_lightning.files.records import STRICT
from purer_lightning.nets.statistics import Statistics

RESERVED = ("total", "class")  # terms of the loss that are no priors


def pixel_norms(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the total variation and the l2 norm of images (N, C, H, W), both scalars."""
    return total_variation(images), images.norm()


@dataclass
class Seen:
    """One network's batch, as a prior sees it. The graph reaches ``images``.

    Attributes:
        images: (N, C, H, W), normalised pixel space.
        labels: int64 (N,), the network's own output indices.
        logits: (N, outputs), what the network makes of the images.
        features: (N, D), what its linear head is given; None for a network that has none.
        found: statistics of the images at the input of each BatchNorm layer; empty where ``wanted`` is.
        wanted: statistics that they should have: those of the training data that a teacher remembers, or those of a
            real support set; empty where there are none.
        norms: computes ``pixel_norms``; an engine may know a faster way.
    """

    images: Tensor
    labels: Tensor
    logits: Tensor
    features: Tensor | None = None
    found: Statistics = field(default_factory=dict)
    wanted: Statistics = field(default_factory=dict)
    norms: Callable[[Tensor], tuple[Tensor, Tensor]] = pixel_norms

    @cached_property
    def pixel_norms(self) -> tuple[Tensor, Tensor]:
        """Total variation and l2 norm of the images; computed once, since fused kernels compute both together."""
        return self.norms(self.images)


class Prior(ABC):
    """A term of the inversion loss beside the cross-entropy: subclass it and name it under ``model.inversion.further``.

    Tensor operations alone, no ``if`` on a value: the batched engine computes many teachers' terms by ``torch.vmap``.

    Args:
        weight: factor of the term in the loss, 0 or more; the term is logged before its weight.

    Attributes:
        name: what the term is called in the log (``inversion/NAME``), the report and the dashboard; the class's own
            name in snake case unless a subclass gives another. Each prior of a run needs a name of its own.
    """

    name: str

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __init_subclass__(cls) -> None:
        """Name the term after the class."""
        super().__init_subclass__()
        if "name" not in vars(cls):
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()

    @abstractmethod
    def __call__(self, seen: Seen) -> Tensor:
        """Return the term before its weight: a scalar whose graph reaches ``seen.images``."""


class TotalVariation(Prior):
    """R_TV: neighbouring pixels differ little, see ``total_variation``."""

    def __call__(self, seen: Seen) -> Tensor:
        """Return the total variation of the batch."""
        return seen.pixel_norms[0]


class L2(Prior):
    """``||x||_2`` over the whole batch."""

    def __call__(self, seen: Seen) -> Tensor:
        """Return the norm of the batch."""
        return seen.pixel_norms[1]


class FeatureStatistics(Prior):
    """R_feature: BatchNorm layers see what they remember, see ``feature_distance``; 0 without BatchNorm."""

    name = "feature"

    def __call__(self, seen: Seen) -> Tensor:
        """Return the distance of the statistics."""
        distance = feature_distance(seen.found, seen.wanted)
        return torch.as_tensor(distance, dtype=seen.images.dtype, device=seen.images.device)


@dataclass
class InversionWeights:
    """Weights of PURER's priors beside the class term, whose weight is 1.

    Attributes:
        total_variation: 1e-4 in the released code of PURER.
        l2: 1e-5 in the released code of PURER.
        feature: 0.01 in the released code of PURER.
    """

    __pydantic_config__ = STRICT

    total_variation: float = 1e-4
    l2: float = 1e-5
    feature: float = 0.01

    def priors(self) -> list[Prior]:
        """Return the priors, in the order in which the loss adds them up."""
        return [TotalVariation(self.total_variation), L2(self.l2), FeatureStatistics(self.feature)]


@dataclass
class InversionSettings(InversionWeights):
    """The priors of a run's inversion: PURER's by their weights, and further ones by their class paths.

    Attributes:
        further: priors beside those three; each is logged as ``inversion/NAME``.
    """

    further: list[Prior] = field(default_factory=list)

    def priors(self) -> list[Prior]:
        """Return PURER's priors and the further ones.

        Raises:
            PurerError: see ``check_priors``.
        """
        return check_priors([*super().priors(), *self.further])


def check_priors(priors: Sequence[Prior]) -> list[Prior]:
    """Return the priors if they can be told apart and weighed.

    Raises:
        PurerError: two have one name, a name is that of another term, or a weight is below 0 or not a number.
    """
    names = [prior.name for prior in priors]
    for number, prior in enumerate(priors):
        if prior.name in RESERVED or prior.name in names[:number]:
            raise PurerError(
                f"Expected each prior under model.inversion to have a name of its own, but {type(prior).__name__} is "
                f"called '{prior.name}', as another term is; set `name` in its class."
            )
        if not prior.weight >= 0:
            raise PurerError(f"Expected model.inversion.{prior.name} to be 0 or more, but got {prior.weight}.")
    return list(priors)


def total_variation(images: Tensor) -> Tensor:
    """Sum of the l2 norms of four differences between neighbours, each norm over the whole batch.

    Args:
        images: (N, C, H, W).

    Returns:
        Scalar: horizontal, vertical and both diagonal differences, as in the released code of PURER.
    """
    horizontal = images[..., :, 1:] - images[..., :, :-1]
    vertical = images[..., 1:, :] - images[..., :-1, :]
    falling = images[..., 1:, 1:] - images[..., :-1, :-1]
    rising = images[..., 1:, :-1] - images[..., :-1, 1:]
    variation: Tensor = horizontal.norm() + vertical.norm() + falling.norm() + rising.norm()
    return variation


def feature_distance(found: Statistics, wanted: Statistics) -> Tensor | float:
    """Distance of BatchNorm input statistics: ``sum_l ||mean_l - wanted mean_l|| + ||var_l - wanted var_l||``.

    Args:
        found: statistics of the pseudo images, biased variance.
        wanted: the teacher's running statistics, or those of a real support set.

    Returns:
        Scalar, plain l2 norms (not squared); 0.0 for a network without BatchNorm.
    """
    terms = [
        (found[name][0] - mean).norm() + (found[name][1] - variance).norm() for name, (mean, variance) in wanted.items()
    ]
    return torch.stack(terms).sum() if terms else 0.0
