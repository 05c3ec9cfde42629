"""Tensors kept in a file rather than in memory, for banks that do not fit into memory."""

import math
import mmap
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from purer_lightning.errors import PurerError


class MappedTensor(NamedTuple):
    """A tensor whose pages the system fetches from a file when they are used.

    Attributes:
        values: float32.
        pages: the same memory.
    """

    values: Tensor
    pages: mmap.mmap

    def release(self) -> None:
        """Give back the memory of the pages in use; their content stays, in the system's cache or on the disk."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.pages.madvise(mmap.MADV_DONTNEED)


def mapped_tensor(shape: tuple[int, ...], folder: Path) -> MappedTensor:
    """Return float32 zeros that are memory-mapped from a file in ``folder``.

    The file loses its name at once, so that it goes with the process, however that ends. Its room on the disk is taken
    at once, too: a page that finds none later would end the process without a word.

    Raises:
        PurerError: the folder cannot be written to, or has no room.
    """
    size = 4 * math.prod(shape)
    try:
        with tempfile.TemporaryFile(prefix=".bank-", dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            pages = mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise PurerError(
            f"Cannot lay out {size / 2**30:.1f} GiB of the image bank in '{folder}' ({error.strerror}); make room "
            "there, name another folder with --run, or set synthesis.on_disk to false."
        ) from error
    return MappedTensor(torch.frombuffer(pages, dtype=torch.float32).view(shape), pages)
