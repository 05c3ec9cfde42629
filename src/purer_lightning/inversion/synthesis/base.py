"""What every way of synthesis does, what a run gives it, and whom it asks."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from purer_lightning.errors import PurerError
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.inversion.gradient import ClassTeacher
from purer_lightning.inversion.loss import Terms
from purer_lightning.pool.teachers import Pool

CPU = torch.device("cpu")


@dataclass(frozen=True)
class SynthesisTask:
    """What a run knows before its first data step.

    Attributes:
        pool: the teachers and their classes. Row k of the bank is of ``pool.classes[k]``.
        images_per_class: how many images of each class the run wants.
        shot: support images of a class in an episode.
        query: query images of a class in an episode, which are others; so a class needs shot + query images.
        seed: the run's; every draw follows from it.
        rate: learning rate of the images, ``model.image_lr``.
        device: of the images.
        dtype: of the images: float32 or float64.
        root: folder of the prepared data sets; a data-free synthesis has no use for it.
        folder: keep what is large in memory-mapped files there; None keeps it in memory.
        one_pass: let an optimiser pass once over its parameters where PyTorch can (``fused=True``); equal to rounding.
    """

    pool: Pool
    images_per_class: int
    shot: int
    query: int
    seed: int
    rate: float
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    root: str = "data"
    folder: Path | None = None
    one_pass: bool = False


class Judge(Protocol):
    """What the teachers of one update, and the meta-model, make of images; may be asked as often as a synthesis likes.

    Every rank has to ask the same questions in the same order, since the ranks share the teachers.
    """

    @property
    def update(self) -> int:
        """Number of the meta-update, from 0; negative in the initial inversion. Key of whatever is drawn at random."""
        ...

    @property
    def teachers(self) -> Sequence[ClassTeacher]:
        """The teachers that this update asks, in the pool's order."""
        ...

    @property
    def classes(self) -> Tensor | None:
        """What they know between them, int64, ascending; None for all of the pool's classes."""
        ...

    def __call__(self, bank: ImageBank, teachers: Sequence[ClassTeacher] | None = None) -> tuple[Terms, Tensor]:
        """Judge images.

        Args:
            bank: images of the classes that these teachers know.
            teachers: some of ``self.teachers``; all of them for None. Then the bank has to be of exactly
                ``self.classes``, and where the Gradient Switch has fired, the gradient is that of
                L_EI - lambda * L_outer: easier for the teachers and harder for the meta-model.

        Returns:
            The terms of L_EI, summed over the teachers, without a graph, and the gradient with respect to
            ``bank.images``, of their shape.
        """
        ...


class Synthesis(ABC):
    """Owns the images of a run, and whatever moves them: an optimiser, a generator.

    A run makes one from the configuration (``synthesis.source`` or ``synthesis.method``), calls ``setup`` once, gives
    it the state of a checkpoint where there is one, and then calls ``move`` in each data step. Between the steps it
    draws episodes from ``bank``, and counts on it that

    - ``bank`` has shot + query images or more of each class of the pool, in the pool's order, in normalised pixel
      space, on the task's device and of its dtype, and changes in ``setup``, ``move`` and ``load_state_dict`` alone;
    - all that has a history is in ``state_dict``, and every draw comes from ``seeding.generator`` with the task's seed
      and the judge's update. Then a resumed run has the bits of one that was never interrupted, and every rank the
      same images.

    Attributes:
        bank: the images as they are now; there after ``setup``.
        moves: False for images that stay as they are. Then a run with data steps is refused.
        data_free: False where the images are real ones. Then the run says so loudly, and leaves no picture of them.
    """

    bank: ImageBank
    moves: bool = True
    data_free: bool = True

    @abstractmethod
    def setup(self, task: SynthesisTask) -> None:
        """Make the first images. Called once a run, before ``load_state_dict``."""

    @abstractmethod
    def move(self, judge: Judge) -> Terms:
        """Make one data step and return the terms of L_EI by which the images were judged; they are logged."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint has to keep: tensors and plain types.

        The names ``source`` and ``initial_steps_done`` are taken.
        """

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken; the task's settings win over the state's.

        Raises:
            PurerError: the state is that of other images.
        """

    @property
    def counts(self) -> Tensor:
        """How many images each class has: int64, (classes,); episodes are drawn from so many."""
        return self.bank.counts


def check_bank(synthesis: Synthesis, task: SynthesisTask) -> None:
    """Raise PurerError where ``setup`` has made other images than the task asks for."""
    images, pool = synthesis.bank.images, task.pool
    wanted = (len(pool.classes), max(images.shape[1], task.shot + task.query), pool.channels, *[pool.image_size] * 2)
    place, own = (task.device.type, task.dtype), (images.device.type, images.dtype)
    if images.shape != wanted or own != place:
        raise PurerError(
            f"Expected {type(synthesis).__name__}.setup to make a bank of images {wanted}, {place[1]} on {place[0]}, "
            f"but got {tuple(images.shape)}, {own[1]} on {own[0]}; docs/extend.md says what a synthesis has to do."
        )
