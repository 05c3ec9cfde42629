"""The data step's gradient: every teacher judges the images of its own classes (PURER's Episode Inversion).

The plain, sequential definition: one teacher after the other, so that only one teacher's graph is alive at a time.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from purer_lightning.inversion.loss import InversionTerms, InversionWeights, inversion_loss
from purer_lightning.nets.functional import running_statistics
from purer_lightning.seeding import generator


class ClassTeacher(Protocol):
    """What inversion needs of a teacher."""

    @property
    def network(self) -> nn.Module:
        """Frozen, in eval mode."""
        ...

    @property
    def classes(self) -> Tensor:
        """int64, (outputs,): the bank's class for which each output of the network stands."""
        ...


def draw_jitter(seed: int, update: int, reach: int = 2) -> tuple[int, int]:
    """Draw the offset (down, right) in {-reach..reach}^2 by which all images are rolled in one update.

    One offset for all teachers, keyed by the update alone: so the order of teachers changes nothing.
    A reach of 2 pixels is the released code's.
    """
    down, right = torch.randint(-reach, reach + 1, (2,), generator=generator(seed, "jitter", update)).tolist()
    return down, right


def inversion_gradient(
    teachers: Sequence[ClassTeacher],
    images: Tensor,
    jitter: tuple[int, int],
    prior_weights: InversionWeights,
) -> tuple[InversionTerms, Tensor]:
    """Compute sum_m L_EI(D_m) over the teachers and its gradient with respect to the bank's images.

    Args:
        teachers: every teacher weighs the same.
        images: the bank, (classes, images_per_class, C, H, W).
        jitter: roll (down, right) in pixels.
        prior_weights: weights of the priors.

    Returns:
        The terms summed over teachers, without a graph, and the gradient, of the bank's shape. Images of classes
        that no teacher knows have gradient zero; those that several know, the sum.
    """
    leaf = images.detach().requires_grad_()
    gradient = torch.zeros_like(images)
    terms = []
    for teacher in teachers:
        classes = teacher.classes.to(images.device)
        # Faster on a CPU than the contiguous format: benchmarks/README.md.
        own = leaf[classes].flatten(0, 1).roll(jitter, dims=(-2, -1)).contiguous(memory_format=torch.channels_last)
        labels = torch.arange(len(classes), device=images.device).repeat_interleave(images.shape[1])
        own_terms = inversion_loss(teacher.network, {}, own, labels, running_statistics(teacher.network), prior_weights)
        (own_gradient,) = torch.autograd.grad(own_terms.total, leaf)
        gradient += own_gradient
        terms.append(own_terms.detached())
    return sum(terms[1:], start=terms[0]), gradient
