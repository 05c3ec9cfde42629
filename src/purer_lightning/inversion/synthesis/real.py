"""RealImages: the images that the teachers were trained on. A ceiling for data-free methods, and none of them."""

from typing import Any

import torch

from purer_lightning.data.splits import ImageSplit, open_split
from purer_lightning.errors import PurerError
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.inversion.loss import Terms
from purer_lightning.inversion.synthesis.base import Judge, Synthesis, SynthesisTask


class RealImages(Synthesis):
    """The real images of the pool's classes, from the train splits of their data sets; they never move.

    All are in memory as float32, 472 MB for CIFAR-FS. Checkpoints leave them out.
    """

    moves = False
    data_free = False

    def setup(self, task: SynthesisTask) -> None:
        """Read the images, normalised as the pool is, in the pool's order of classes.

        Each class has as many as the one with the fewest; those of CIFAR-FS all have 600.

        Raises:
            PurerError: a data set is not prepared or of another shape, its train split lacks a class of the pool, or a
                class has fewer images than an episode needs.
        """
        pool = task.pool
        splits = {name: open_split(task.root, name, "train") for name in sorted({c.dataset for c in pool.classes})}
        check_splits(task, splits)
        own = [(splits[known.dataset], known.name) for known in pool.classes]
        places = [(split, split.class_names.index(name)) for split, name in own]
        each = min(int(split.counts[position]) for split, position in places)
        if task.shot + task.query > each:
            raise PurerError(
                f"An episode needs shot + query = {task.shot} + {task.query} = {task.shot + task.query} distinct "
                f"images a class, but a class of the pool has only {each} real ones; lower data.shot or data.query."
            )
        images = torch.empty(len(places), each, pool.channels, pool.image_size, pool.image_size)
        for row, (split, position) in enumerate(places):
            images[row] = pool.normalisation.apply(split.of_class(position)[:each])
        self.bank = ImageBank(images.to(task.device, task.dtype))

    def move(self, judge: Judge) -> Terms:
        """Refuse: a run with data steps on these images is refused before it begins.

        Raises:
            PurerError: always.
        """
        del judge
        raise PurerError("Real images stay as they are; set model.data_step_every to 0, or synthesis.source to pool.")

    def state_dict(self) -> dict[str, Any]:
        """Nothing: ``setup`` reads the images again."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""
        del state


def check_splits(task: SynthesisTask, splits: dict[str, ImageSplit]) -> None:
    """Raise PurerError where the images are not of the pool's shape, or a class of the pool has none."""
    pool = task.pool
    for name, split in splits.items():
        if (split.channels, split.image_size) != (pool.channels, pool.image_size):
            raise PurerError(
                f"The pool is for images of {pool.channels} x {pool.image_size} x {pool.image_size}, but '{name}' in "
                f"'{task.root}' has {split.channels} x {split.image_size} x {split.image_size}; choose another "
                "data.pool or data.root."
            )
    for known in pool.classes:
        if known.name not in splits[known.dataset].class_names:
            raise PurerError(
                f"Expected the train split of '{known.dataset}' in '{task.root}' to have every class of the pool, but "
                f"it lacks '{known.name}'; choose the data.root that the pool was trained on."
            )
