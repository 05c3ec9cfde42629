"""The data step's gradient: every teacher judges the images of its own classes (PURER's Episode Inversion).

One teacher after the other, or as many at once as there are threads: only so many teachers' graphs are alive at a time.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from purer_lightning.compute.backend import PLAIN, Backend
from purer_lightning.compute.precision import gradients
from purer_lightning.compute.ranks import ALONE, Ranks
from purer_lightning.compute.threads import one_thread
from purer_lightning.inversion.loss import Terms, inversion_loss, summed
from purer_lightning.inversion.priors import Prior
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


class TeacherGradient(NamedTuple):
    """One teacher's judgement of the images of its classes.

    Attributes:
        terms: L_EI, without a graph.
        gradient: its gradient, (classes, images_per_class, C, H, W), classes in the order of the teacher's outputs.
    """

    terms: Terms
    gradient: Tensor

    def packed(self) -> Tensor:
        """Return all values in one row, the terms first."""
        return torch.cat([torch.stack(list(self.terms.values())), self.gradient.flatten()])

    @classmethod
    def unpacked(cls, row: Tensor, names: Sequence[str], shape: tuple[int, ...]) -> "TeacherGradient":
        """Return what ``packed`` made a row of; ``names`` are those of the terms, ``shape`` is that of the gradient."""
        return cls(dict(zip(names, row[: len(names)], strict=True)), row[len(names) :].view(shape))


def teacher_gradient(
    teacher: ClassTeacher,
    images: Tensor,
    classes: Tensor,
    jitter: tuple[int, int],
    priors: Sequence[Prior],
    backend: Backend = PLAIN,
) -> TeacherGradient:
    """Compute one teacher's L_EI and its gradient with respect to the images of the teacher's classes.

    Args:
        teacher: the one to ask.
        images: (K, images_per_class, C, H, W).
        classes: int64 (K,), ascending: the class of each row, with all that the teacher knows among them.
        jitter: roll (down, right) in pixels.
        priors: terms of L_EI beside the cross-entropy.
        backend: how it is computed.
    """
    network = teacher.network  # once, since a teacher on disk may be read for it
    rows = images.detach()[torch.searchsorted(classes, teacher.classes).to(images.device)].requires_grad_()
    # Faster on a CPU than the contiguous format: benchmarks/README.md.
    own = rows.flatten(0, 1).roll(jitter, dims=(-2, -1)).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(len(rows), device=images.device).repeat_interleave(images.shape[1])
    terms = inversion_loss(network, {}, own, labels, running_statistics(network), priors, backend)
    (gradient,) = gradients(terms["total"], [rows])
    return TeacherGradient({name: term.detach() for name, term in terms.items()}, gradient)


def of_all_ranks(
    own: Iterator[TeacherGradient],
    shapes: Sequence[tuple[int, ...]],
    priors: Sequence[Prior],
    ranks: Ranks,
    like: Tensor,
) -> Iterable[TeacherGradient]:
    """Return every teacher's gradient, in the order of the teachers; each rank receives them all.

    Args:
        own: those of this rank's share. A single rank hands them on as they come, and holds no more of them.
        shapes: of all teachers' gradients.
        priors: they name the terms.
        ranks: the processes of the run.
        like: has the gradients' dtype and device.
    """
    if ranks.size == 1:
        return own
    names = ["total", "class", *(prior.name for prior in priors)]  # a rank without a teacher has no terms to name
    lengths = [len(names) + math.prod(shape) for shape in shapes]
    rows = ranks.gather([each.packed() for each in own], lengths, like)
    return [TeacherGradient.unpacked(row, names, shape) for row, shape in zip(rows, shapes, strict=True)]


def inversion_gradient(
    teachers: Sequence[ClassTeacher],
    images: Tensor,
    jitter: tuple[int, int],
    priors: Sequence[Prior],
    ranks: Ranks = ALONE,
    classes: Tensor | None = None,
    backend: Backend = PLAIN,
) -> tuple[Terms, Tensor]:
    """Compute sum_m L_EI(D_m) over the teachers and its gradient with respect to the images.

    Each rank asks its share of the teachers. All receive every teacher's gradient and add them up in the order of the
    teachers, so that the sum is the same to the bit on any number of ranks.

    Args:
        teachers: at least one; every teacher weighs the same.
        images: (K, images_per_class, C, H, W), normalised pixel space.
        jitter: roll (down, right) in pixels.
        priors: terms of L_EI beside the cross-entropy.
        ranks: the processes of the run.
        classes: int64 (K,), ascending: the class of each row, with all that the teachers know among them; row k is of
            class k for None.
        backend: how it is computed.

    Returns:
        The terms summed over teachers, without a graph, and the gradient, of the shape of ``images``. Images of classes
        that no teacher knows have gradient zero; those that several know, the sum.
    """
    classes = torch.arange(len(images)) if classes is None else classes
    shapes = [(len(teacher.classes), *images.shape[1:]) for teacher in teachers]
    ask = partial(teacher_gradient, images=images, classes=classes, jitter=jitter, priors=priors, backend=backend)
    own = backend.map(ask, ranks.share(teachers), images)
    with one_thread():
        gradient, terms = images.new_zeros(images.shape), []
        for teacher, each in zip(teachers, of_all_ranks(own, shapes, priors, ranks, images.detach()), strict=True):
            rows = torch.searchsorted(classes, teacher.classes).to(images.device)
            gradient.index_add_(0, rows, each.gradient)
            terms.append(each.terms)
        return summed(terms), gradient
