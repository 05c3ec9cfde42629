"""What makes a pseudo image image-like: pure functions of images and statistics (PURER, Episode Inversion)."""

import torch
from torch import Tensor

from purer_lightning.nets.statistics import Statistics


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


def pixel_norms(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``total_variation`` and the l2 norm of the whole batch, both scalars; an engine has both in one pass."""
    return total_variation(images), images.norm()


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
