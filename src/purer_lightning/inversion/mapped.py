"""Tensors that lie in a file rather than in memory, for banks that are larger than it."""

import math
import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from purer_lightning.errors import PurerError


def mapped_tensor(shape: tuple[int, ...], folder: Path) -> Tensor:
    """Return float32 zeros that are memory-mapped from a file in ``folder``: the system fetches the pages in use.

    The file loses its name at once, so that it goes with the process, however that ends. Its room on the disk is taken
    at once, too: a page that finds none later would end the process without a word.

    Raises:
        PurerError: the folder cannot be written to, or has no room.
    """
    count = math.prod(shape)
    try:
        with tempfile.NamedTemporaryFile(prefix=".bank-", dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, 4 * count)
            return torch.from_file(file.name, shared=True, size=count, dtype=torch.float32).view(shape)
    except OSError as error:
        raise PurerError(
            f"Cannot lay out {4 * count / 2**30:.1f} GiB of the image bank in '{folder}' ({error.strerror}); make room "
            "there, name another folder with --run, or set synthesis.on_disk to false."
        ) from error
