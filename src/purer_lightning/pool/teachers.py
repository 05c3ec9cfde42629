"""A pool in memory: frozen teachers, and which class of the pool each of their outputs stands for."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from purer_lightning.errors import PurerError, nearest
from purer_lightning.nets.functional import running_statistics
from purer_lightning.nets.normalisation import Normalisation
from purer_lightning.pool.checks import check_classes, checked_teacher
from purer_lightning.pool.lazy import MappedTeacher, Resident, check_files
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


AnyTeacher = Teacher | MappedTeacher
"""In memory, or on disk until it is asked."""


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
    teachers: tuple[AnyTeacher, ...]

    def classes_of(self, teachers: Sequence[AnyTeacher]) -> Tensor:
        """Return what these teachers know between them: positions in ``classes``, int64, ascending, each once."""
        return torch.cat([teacher.classes for teacher in teachers]).unique()  # type: ignore[no-any-return, no-untyped-call]

    def to(self, like: Tensor) -> list[str]:
        """Give the networks ``like``'s device and dtype, and the memory format that convolutions are fastest in.

        Returns:
            Names of those without BatchNorm, as far as they are in memory.
        """
        for teacher in self.teachers:
            if isinstance(teacher, MappedTeacher):
                teacher.resident.to(like)  # theirs is one for all
                return []
            teacher.network.to(like).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return [teacher.record.name for teacher in self.teachers if not running_statistics(teacher.network)]


def load_pool(folder: str | Path, teachers: Sequence[str] | None = None, resident: int | None = None) -> Pool:
    """Load a pool onto the CPU, with all the checks of ``purer pool check``.

    Args:
        folder: with pool.json in it.
        teachers: names of those to load; all when None. The pool's classes are then those of these teachers.
        resident: leave the teachers on disk, and keep at most so many in memory; all are loaded when None. A
            teacher's weights are then checked when it is first asked.

    Raises:
        PurerError: no pool there, a teacher of that name is not in it, or something is wrong with one that is loaded.
    """
    manifest = read_manifest(folder)
    check_classes(manifest)
    records = manifest.teachers if teachers is None else [_named(manifest, name, folder) for name in teachers]
    classes = tuple(sorted({known for record in records for known in _classes(record)}))
    position = {known: index for index, known in enumerate(classes)}
    positions = [torch.tensor([position[known] for known in _classes(record)]) for record in records]
    found: list[AnyTeacher]
    if resident is None:
        networks = [checked_teacher(Path(folder), manifest, record) for record in records]
        found = [Teacher(*each) for each in zip(records, networks, positions, strict=True)]
    else:
        check_files(Path(folder), manifest, records)
        on_disk = Resident(Path(folder), manifest, resident)
        found = [MappedTeacher(record, on_disk, own) for record, own in zip(records, positions, strict=True)]
    return Pool(manifest.image_size, manifest.channels, manifest.normalisation, classes, tuple(found))


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
