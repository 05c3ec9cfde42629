"""Putting a teacher into a pool, safely from several processes and machines at once.

Each teacher has its own weights and its own record, so writers never touch each other's files. ``pool.json`` is what
the records come to, and whoever has added a record puts it together anew: it looks at the records again after it has
written ``pool.json``, and starts over when there are others by then. So the last one to write has seen them all, also
where a shared file system grants no locks.

Whether a name and its classes are free is asked under a lock, ``pool_lock``, which is held until the teacher is stored.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from purer_lightning.errors import PurerError
from purer_lightning.files import locked, replacing
from purer_lightning.files.records import read_record
from purer_lightning.pool.manifest import (
    FORMAT,
    MANIFEST,
    REMEDY,
    PoolManifest,
    TeacherRecord,
    checked_manifest,
    encode,
    read_manifest,
    write_manifest,
)

WAIT_SECONDS = 60.0  # for a process that stores a teacher, which takes a second or two


@dataclass
class StoredTeacher(PoolManifest):
    """A record file's content: a pool of one teacher alone.

    Attributes:
        settings: how it was made, as plain JSON types; empty for a user's own classifier.
    """

    settings: dict[str, Any] = field(default_factory=dict)


def store_teacher(folder: Path, alone: PoolManifest, weights: dict[str, Tensor], settings: dict[str, Any]) -> None:
    """Write weights, then the record, then ``pool.json``, each atomically.

    Args:
        folder: of the pool; made when missing.
        alone: a pool of this teacher alone; the file's hash is filled in here.
        weights: state_dict; written contiguous.
        settings: how it was made, as plain JSON types.

    Raises:
        PurerError: the folder cannot be written to, or the teacher does not fit the pool.
    """
    (record,) = alone.teachers
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    record.sha256 = hashlib.sha256(content).hexdigest()
    make_folder(folder)
    with replacing(folder / record.file) as temporary:
        temporary.write_bytes(content)
    with replacing(_record_path(folder, record)) as temporary:
        text = json.dumps({**encode(alone), "settings": settings}, indent=1) + "\n"
        temporary.write_text(text, encoding="utf-8")
    assemble(folder)


@contextmanager
def pool_lock(folder: Path, command: str) -> Iterator[None]:
    """Make a pool's folder where it is missing, and let one process at a time add to it; the others wait.

    Raises:
        PurerError: the folder cannot be made, or another process has held it for ``WAIT_SECONDS``.
    """
    make_folder(folder)
    with locked(folder, command, "name another pool", WAIT_SECONDS):
        yield


def stored_teacher(folder: Path, name: str) -> StoredTeacher | None:
    """Return the record of a teacher, or None when there is none (yet)."""
    path = folder / f"{name}.json"
    return _read(path) if path.is_file() else None


def assemble(folder: Path) -> None:
    """Write ``pool.json`` from the records there are. Teachers that it lists and that have no record stay in it.

    Raises:
        PurerError: teachers do not agree on image size, channels or normalisation.
    """
    while True:
        records = _records(folder)
        write_manifest(folder, _merged(folder, records))
        if _records(folder) == records:
            return


def make_folder(folder: Path) -> None:
    """Make the pool's folder, or raise PurerError when that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PurerError(f"Cannot make the pool's folder '{folder}': {error.strerror}. Give another `pool`.") from error


def check_same_images(pool: PoolManifest, other: PoolManifest, where: str) -> None:
    """Raise PurerError unless ``other``, named ``where``, is for images like the pool's."""
    for fact in ("image_size", "channels", "normalisation"):
        expected, found = getattr(pool, fact), getattr(other, fact)
        if expected != found:
            raise PurerError(
                f"A pool's teachers share one {fact}: the pool has {expected}, but {where} has {found}. "
                "Put it into a pool of its own, or retrain it for the pool's images."
            )


def _merged(folder: Path, records: list[StoredTeacher]) -> PoolManifest:
    pool = read_manifest(folder) if (folder / MANIFEST).is_file() else None
    first = pool or records[0]
    teachers = {record.name: record for record in (pool.teachers if pool else [])}
    for stored in records:
        (record,) = stored.teachers
        check_same_images(first, stored, f"teacher '{record.name}' ({record.file})")
        teachers[record.name] = record
    # Shorter names first, so that teacher_100 follows teacher_99.
    in_order = sorted(teachers.values(), key=lambda record: (len(record.name), record.name))
    return PoolManifest(first.image_size, first.channels, first.normalisation, in_order)


def _records(folder: Path) -> list[StoredTeacher]:
    paths = (weights.with_suffix(".json") for weights in sorted(folder.glob("*.safetensors")))
    return [_read(path) for path in paths if path.is_file()]


def _read(path: Path) -> StoredTeacher:
    stored = checked_manifest(read_record(path, StoredTeacher, FORMAT, REMEDY), path)
    if len(stored.teachers) != 1:
        raise PurerError(
            f"Expected '{path}' to describe one teacher, but it describes {len(stored.teachers)}; {REMEDY}."
        )
    return stored


def _record_path(folder: Path, record: TeacherRecord) -> Path:
    return (folder / record.file).with_suffix(".json")
