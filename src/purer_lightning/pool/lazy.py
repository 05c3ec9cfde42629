"""Teachers that stay on disk: read when they are asked, memory-mapped, and at most so many of them in memory."""

from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor, nn

from purer_lightning.errors import PurerError
from purer_lightning.pool.checks import check_record, checked_teacher
from purer_lightning.pool.kinds import read_teacher
from purer_lightning.pool.manifest import PoolManifest, TeacherRecord


class Resident:
    """The networks of a pool that are in memory: those asked for last.

    The first time that a teacher is read, its file is checked as by ``purer pool check``; after that it is mapped.

    Args:
        folder: of the pool.
        manifest: what the pool says about itself.
        limit: how many networks are kept, at least 1. The one asked for least recently goes first; a thread that is at
            work with it may hold it longer.
    """

    def __init__(self, folder: Path, manifest: PoolManifest, limit: int) -> None:
        if limit < 1:
            raise PurerError(f"Expected data.resident_teachers to be at least 1, but got {limit}.")
        self.folder, self.manifest, self.limit = folder, manifest, limit
        self._networks: OrderedDict[str, nn.Module] = OrderedDict()
        self._checked: set[str] = set()
        self._like = torch.zeros(())
        self._one_at_a_time = Lock()  # several threads may ask

    def __len__(self) -> int:
        """How many networks are in memory."""
        return len(self._networks)

    def to(self, like: Tensor) -> None:
        """Give every network that is read from now on ``like``'s device and dtype."""
        self._networks.clear()
        self._like = like.detach().new_zeros(())

    def network(self, record: TeacherRecord) -> nn.Module:
        """Return a teacher's network, frozen and in evaluation mode, in the memory format for convolutions.

        Raises:
            PurerError: the first time, what ``checked_teacher`` raises.
        """
        with self._one_at_a_time:
            if record.name not in self._networks:
                while len(self) >= self.limit:  # before another one is read, so that there are never more
                    self._networks.popitem(last=False)
                self._networks[record.name] = self._prepared(record)
            self._networks.move_to_end(record.name)
            return self._networks[record.name]

    def _prepared(self, record: TeacherRecord) -> nn.Module:
        network: nn.Module = self._read(record).to(self._like)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def _read(self, record: TeacherRecord) -> nn.Module:
        if record.name not in self._checked:
            self._checked.add(record.name)
            return checked_teacher(self.folder, self.manifest, record)
        where = f"Teacher '{record.name}' ({self.folder / record.file})"
        return read_teacher(self.folder, record, where)[0]


class MappedTeacher(NamedTuple):
    """A frozen classifier that is in memory only while it is asked; else like ``Teacher``.

    Attributes:
        record: what the pool says about it.
        resident: has its network, or reads it.
        classes: int64, (classes,): positions in ``Pool.classes`` of what its outputs stand for.
    """

    record: TeacherRecord
    resident: Resident
    classes: Tensor

    @property
    def network(self) -> nn.Module:
        """In evaluation mode, no parameter requires a gradient; hold on to it no longer than it is needed."""
        return self.resident.network(self.record)


def check_files(folder: Path, manifest: PoolManifest, records: list[TeacherRecord]) -> None:
    """Check what can be checked without reading weights.

    Raises:
        PurerError: what ``check_record`` raises, or a teacher without its file.
    """
    for record in records:
        where = f"Teacher '{record.name}' ({folder / record.file})"
        check_record(manifest, record, where)
        if not (folder / record.file).is_file():
            raise PurerError(f"{where}: there is no such file; restore it, or make the pool again.")
