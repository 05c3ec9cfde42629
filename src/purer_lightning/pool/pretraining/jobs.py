"""One teacher of ``purer pretrain``, from its classes' images to its files: what a process is given and does."""

from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import torch

from purer_lightning.compute.memory import keep_freed_memory
from purer_lightning.compute.threads import one_thread
from purer_lightning.data.splits import ImageSplit, open_split
from purer_lightning.errors import PurerError
from purer_lightning.nets import NETWORKS, NetworkSpec
from purer_lightning.nets.normalisation import Normalisation
from purer_lightning.pool.manifest import PoolManifest, TeacherRecord
from purer_lightning.pool.pretraining.recipe import Pictures, TeacherRecipe, split_class, train_teacher
from purer_lightning.pool.writing import StoredTeacher, pool_lock, store_teacher, stored_teacher
from purer_lightning.seeding import generator


@dataclass(frozen=True)
class Course:
    """What all teachers of a run share; see ``pretrain``."""

    dataset: str
    root: str
    pool: Path
    normalisation: Normalisation
    epochs: int
    recipe: TeacherRecipe
    seed: int
    device: str


class Job(NamedTuple):
    """One teacher to make.

    Attributes:
        course: what it shares with the others.
        number: its number in the pool.
        positions: of its classes in the meta-train split, sorted.
        spec: its network.
    """

    course: Course
    number: int
    positions: list[int]
    spec: NetworkSpec

    @property
    def name(self) -> str:
        """Of the teacher."""
        return f"teacher_{self.number:02d}"

    def settings(self, split: ImageSplit) -> dict[str, Any]:
        """Return all that decides the teacher's weights, as plain JSON types."""
        return {
            "dataset": self.course.dataset,
            "class_ids": [split.class_ids[position] for position in self.positions],
            "network": asdict(self.spec),
            "normalisation": [list(values) for values in self.course.normalisation],
            "epochs": self.course.epochs,
            "recipe": asdict(self.course.recipe),
            "seed": self.course.seed,
            "number": self.number,
        }


class Finished(NamedTuple):
    """What is told about a finished teacher: its held-out accuracy is 0 to 1."""

    name: str
    architecture: str
    accuracy: float
    seconds: float


def make_teacher(job: Job) -> Finished:
    """Train one teacher and write it into its pool at once."""
    started = perf_counter()
    keep_freed_memory()
    course = job.course
    NETWORKS.name(job.spec.architecture, "architectures")  # in this process, too
    split = open_split(course.root, course.dataset, "train")
    train, held_out = (pictures.to(course.device) for pictures in teacher_pictures(job, split))
    with one_thread():
        weights, accuracy = train_teacher(
            job.spec, train, held_out, course.normalisation, course.recipe, course.epochs, course.seed, job.number
        )
    ids = [split.class_ids[position] for position in job.positions]
    names = [split.class_names[position] for position in job.positions]
    record = TeacherRecord(job.name, f"{job.name}.safetensors", "", job.spec, course.dataset, ids, names, accuracy)
    alone = PoolManifest(split.image_size, split.channels, course.normalisation, [record])
    settings = job.settings(split)
    with pool_lock(course.pool, "purer pretrain"):
        check_settings(course.pool, job.name, settings)  # another process may have made it meanwhile
        store_teacher(course.pool, alone, weights, settings)
    return Finished(job.name, job.spec.architecture, accuracy, perf_counter() - started)


def check_settings(pool: Path, name: str, settings: dict[str, Any]) -> StoredTeacher | None:
    """Return the teacher that a pool has under a name, None where there is none.

    Raises:
        PurerError: it was made by other settings.
    """
    stored = stored_teacher(pool, name)
    for key, value in settings.items():
        if stored is not None and (found := stored.settings.get(key)) != value:
            raise PurerError(
                f"'{pool}' already holds a {name} made with {key} {found}, but this run asks for {value}. Give another "
                "`pool`, or remove the old one."
            )
    return stored


def teacher_pictures(job: Job, split: ImageSplit) -> tuple[Pictures, Pictures]:
    """Return a teacher's training and held-out pictures; label = position in ``job.positions``.

    Which images of a class are held out depends on seed and class alone, so teachers that share a class hold out the
    same ones.
    """
    share, seed = job.course.recipe.training_share, job.course.seed
    parts = [
        split_class(split.of_class(position), share, generator(seed, "pretrain-held-out", split.class_ids[position]))
        for position in job.positions
    ]
    train, held_out = (_labelled([part[side] for part in parts]) for side in (0, 1))
    return train, held_out


def _labelled(images: list[torch.Tensor]) -> Pictures:
    counts = torch.tensor([len(of_class) for of_class in images])
    return Pictures(torch.cat(images), torch.arange(len(images)).repeat_interleave(counts))
