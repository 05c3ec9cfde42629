"""A pool in memory: frozen teachers, and which class of the pool each of their outputs stands for."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from purer_lightning.errors import PurerError, nearest
from purer_lightning.normalisation import Normalisation
from purer_lightning.pool.checks import check_classes, checked_teacher
from purer_lightning.pool.manifest import PoolManifest, TeacherRecord, read_manifest


class PoolClass(NamedTuple):
    """A class that some teacher knows.

    Attributes:
        dataset: the data set that it is of.
        id: global within that data set.
        name: for people.
    """

    dataset: str
    id: int
    name: str


class Teacher(NamedTuple):
    """A frozen classifier.

    Attributes:
        record: what the pool says about it.
        network: in evaluation mode, no parameter requires a gradient; images (N, C, H, W) to logits (N, classes).
        classes: int64, (classes,); output k stands for the class at position ``classes[k]`` of ``Pool.classes``.
    """

    record: TeacherRecord
    network: nn.Module
    classes: Tensor


class Pool(NamedTuple):
    """Teachers and the classes that they know between them.

    Attributes:
        image_size: height and width in pixels.
        channels: image channels.
        normalisation: what every teacher expects of its input.
        classes: sorted by data set and id, each once, whatever the order of teachers or of their class ids.
        teachers: in the order of pool.json, or in that asked for.
    """

    image_size: int
    channels: int
    normalisation: Normalisation
    classes: tuple[PoolClass, ...]
    teachers: tuple[Teacher, ...]


def load_pool(folder: str | Path, teachers: Sequence[str] | None = None) -> Pool:
    """Load a pool onto the CPU, with all the checks of ``purer pool check``.

    Args:
        folder: with pool.json in it.
        teachers: names of those to load; all when None. The pool's classes are then those of these teachers.

    Raises:
        PurerError: no pool there, a teacher of that name is not in it, or something is wrong with one that is loaded.
    """
    manifest = read_manifest(folder)
    check_classes(manifest)
    records = manifest.teachers if teachers is None else [_named(manifest, name, folder) for name in teachers]
    classes = tuple(sorted({known for record in records for known in _classes(record)}))
    position = {known: index for index, known in enumerate(classes)}
    loaded = tuple(
        Teacher(
            record,
            checked_teacher(Path(folder), manifest, record),
            torch.tensor([position[known] for known in _classes(record)]),
        )
        for record in records
    )
    return Pool(manifest.image_size, manifest.channels, manifest.normalisation, classes, loaded)


def _classes(record: TeacherRecord) -> list[PoolClass]:
    return [
        PoolClass(record.dataset, number, name)
        for number, name in zip(record.class_ids, record.class_names, strict=False)  # unequal: refused by the checks
    ]


def _named(manifest: PoolManifest, name: str, folder: str | Path) -> TeacherRecord:
    records = {record.name: record for record in manifest.teachers}
    if name not in records:
        raise PurerError(
            f"Expected a teacher of the pool '{folder}', but got '{name}'.{nearest(name, records)} It has: "
            f"{', '.join(records)}."
        )
    return records[name]
