"""Files that are whole or not there at all."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from purer_lightning.errors import PurerError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` that takes its place when the block succeeds and vanishes when it fails.

    Raises:
        PurerError: the folder cannot be written to.
    """
    # Host and process in the name: the ranks of a cluster write into one shared folder.
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise PurerError(
            f"Cannot write '{path}': {error.strerror or error}. Give another folder, or make room."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
