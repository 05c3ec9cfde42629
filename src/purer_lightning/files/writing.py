"""Files that are whole or not there at all, also after a power cut; links, pipes and devices stay what they are."""

import errno
import os
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from purer_lightning.errors import PurerError

READER_SECONDS = 5.0  # that a named pipe may wait for its reader
LINKS = 40  # one after the other at most, as in Linux


@contextmanager
def replacing(path: Path, *, parents: bool = False) -> Iterator[Path]:
    """Yield a temporary name whose content becomes that of ``path`` when the block succeeds and vanishes when it fails.

    A file is replaced by another one beside it. The new content is on the disk before it gets the name, so whoever
    opens ``path`` finds the old file or the new one, whatever happened to this process or to the machine. A process
    that is killed leaves the temporary file; its name begins with a dot and ends in ``.tmp``.

    Where ``path`` is a link, the file that it points to is replaced. A pipe or a character device (``/dev/stdout``,
    ``/dev/null``) gets the content written into it.

    Args:
        path: to write.
        parents: make its folder where that is missing.

    Raises:
        PurerError: the file or its folder cannot be written to; or ``path`` is a folder, a socket, a disk, a link in a
            circle, or a pipe that nobody reads.
    """
    temporary: Path | None = None
    try:
        target, is_stream = _target(path)
        # Host and process in the name: the ranks of a cluster write into one shared folder.
        name = f".{target.name}.{socket.gethostname()}.{os.getpid()}.tmp"
        temporary = (Path(tempfile.gettempdir()) if is_stream else target.parent) / name
        if parents:
            temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        yield temporary
        if is_stream:
            _pour(temporary, target)
            return
        sync(temporary)
        if target.exists():
            with suppress(OSError):  # not every file system has permissions
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
        sync(target.parent)
    except OSError as error:
        raise PurerError(
            f"Cannot write '{path}': {error.strerror or error}. Give another folder, or make room."
        ) from error
    finally:
        if temporary is not None:
            with suppress(OSError):  # of a folder in whose place a file stands
                temporary.unlink(missing_ok=True)


def check_writable(files: Iterable[Path]) -> None:
    """Find out before the work whether files can be written; nothing is left behind.

    Raises:
        PurerError: one of them cannot, see ``replacing``.
    """
    for file in files:
        try:
            target, is_stream = _target(file)
            if target.is_dir():
                raise IsADirectoryError("it is a folder")
            folder = next(parent for parent in target.absolute().parents if parent.exists())
            with nullcontext() if is_stream else tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise PurerError(f"Cannot write '{file}' ({error.strerror or error}); give another file.") from error


def is_stdout(path: Path) -> bool:
    """Whether ``path`` names this process's standard output, as /dev/stdout does."""
    return _open_number(path) == 1


def _target(path: Path) -> tuple[Path, bool]:
    """Return the file that is to be replaced, behind all links, or a stream, and whether it is a stream.

    Raises:
        OSError: it is neither.
    """
    if _open_number(path) is not None:
        return path, True
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    mode = target.stat().st_mode if target.exists() else stat.S_IFREG
    if stat.S_ISSOCK(mode) or stat.S_ISBLK(mode):
        raise OSError(f"it is a {'socket' if stat.S_ISSOCK(mode) else 'disk'}, not a file")
    return target, stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _open_number(path: Path) -> int | None:
    """Return the number of this process's open file that ``path`` names, such as 1 for /dev/stdout; None if none."""
    for _ in range(LINKS):
        folder = os.path.realpath(path.parent)
        if folder in (f"/proc/{os.getpid()}/fd", "/dev/fd") and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


def _pour(source: Path, stream: Path) -> None:
    """Write a file's content into a pipe, a device or an open file of this process."""
    number = _open_number(stream)
    for ours in (sys.stdout, sys.stderr):
        if ours is not None:
            ours.flush()  # what was printed before comes before
    # An open file's own position, not a second one at its beginning: the shell may have sent what we print there, too.
    descriptor = _open_stream(stream) if number is None else os.dup(number)
    with source.open("rb") as content, os.fdopen(descriptor, "wb") as sink:
        shutil.copyfileobj(content, sink)


def _open_stream(stream: Path) -> int:
    """Open a pipe or a device for writing; wait for a pipe's reader, but not for ever."""
    started = time.monotonic()
    while True:
        try:
            descriptor = os.open(stream, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() - started > READER_SECONDS:
                raise OSError("it is a pipe that nobody reads") from error
            time.sleep(0.05)
        else:
            os.set_blocking(descriptor, True)
            return descriptor


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
