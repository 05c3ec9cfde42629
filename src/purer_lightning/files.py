"""Files that are whole or not there at all, also after a power cut."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from purer_lightning.errors import PurerError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` that takes its place when the block succeeds and vanishes when it fails.

    The new content is on the disk before it gets the name, so whoever opens ``path`` finds the old file or the new
    one, whatever happened to this process or to the machine. A process that is killed leaves the temporary file; its
    name begins with a dot and ends in ``.tmp``.

    Raises:
        PurerError: the folder cannot be written to.
    """
    # Host and process in the name: the ranks of a cluster write into one shared folder.
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise PurerError(
            f"Cannot write '{path}': {error.strerror or error}. Give another folder, or make room."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; costs milliseconds."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder, and keeps its names safe by itself
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes have left in ``folder``; nobody may be writing there."""
    for temporary in folder.glob(".*.tmp"):
        temporary.unlink(missing_ok=True)
