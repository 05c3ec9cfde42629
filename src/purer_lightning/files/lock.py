"""A lock on a folder: a file that names who writes there, released with its process, however that ends.

The operating system's lock on that file (flock) decides where there is one: it is released when the process is killed.
On network file systems it may hold on one machine alone, or not exist. So the file is also made exclusively, names its
host and process, and is touched every few seconds: a lock of another host counts as left behind once nobody touches it.

Limits: where there is no flock, two processes that find the same lock left behind within the same second may both take
it; and a process of another host that is suspended for longer than ``STALE_SECONDS`` loses its lock.
"""

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from threading import Event, Thread

from purer_lightning.errors import PurerError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = "in_use.json"  # the file
BEAT_SECONDS = 5.0  # between two touches
STALE_SECONDS = 20.0  # without a touch, for a lock of another host: several times as long as one may take there
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: the file's content, as JSON.

    Attributes:
        command: what it does, in words for the user.
        host: its machine.
        pid: its process there.
        born: when that process began, in the kernel's ticks: another process may get the same number later.
        since: when it took the lock, local time.
        job: of Slurm, empty outside.
        restarts: how often Slurm has put that job back; a holder of fewer has ended.
    """

    command: str
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    born: str = field(default_factory=lambda: _born(os.getpid()))
    since: str = field(default_factory=lambda: datetime.now().isoformat(" ", "seconds"))
    job: str = field(default_factory=lambda: os.environ.get("SLURM_JOB_ID", ""))
    restarts: int = field(default_factory=lambda: int(os.environ.get("SLURM_RESTART_COUNT") or 0))


@contextmanager
def locked(folder: Path, command: str, remedy: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock of a folder within the block.

    Args:
        folder: exists.
        command: what this process does there, for whoever comes second.
        remedy: what that one may do, such as "name another folder with --run".
        wait_seconds: how long to wait for another process to end, at most.

    Raises:
        PurerError: another process holds it.
    """
    path, mine = folder / LOCK, Holder(command)
    descriptor = _taken(path, mine, time.monotonic() + wait_seconds, f"'{folder}' is in use by", remedy)
    done = Event()
    beat = Thread(target=_beat, args=(descriptor, done), daemon=True)
    beat.start()
    try:
        yield
    finally:
        done.set()
        beat.join()
        if _is_same(path, descriptor):
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _taken(path: Path, mine: Holder, deadline: float, sentence: str, remedy: str) -> int:
    """Return the open file of a lock that is now ours."""
    while True:
        descriptor, is_new = _opened(path)
        locks = _flock(descriptor)
        if locks is not False and not _is_same(path, descriptor):
            os.close(descriptor)  # its holder has just removed it
            continue
        holder = None if is_new else _read(path, patient=locks is None)
        if locks is not False and (holder is None or not _lives(holder, path, flocked=bool(locks), mine=mine)):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, (json.dumps(asdict(mine)) + "\n").encode(), 0)
            os.fsync(descriptor)
            return descriptor
        os.close(descriptor)
        if time.monotonic() >= deadline:
            who = f"{holder.command} (process {holder.pid} on {holder.host}, since {holder.since})" if holder else ""
            raise PurerError(f"{sentence} {who or 'another process'}; wait until it has ended, or {remedy}.")
        time.sleep(POLL_SECONDS)


def _opened(path: Path) -> tuple[int, bool]:
    """Open a lock's file, and return whether it was made by that."""
    try:
        while True:
            with suppress(FileExistsError):
                return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644), True
            with suppress(FileNotFoundError):  # removed between the two
                return os.open(path, os.O_RDWR), False
    except OSError as error:
        raise PurerError(
            f"Cannot write '{path}': {error.strerror}. Give another folder, make room, or remove it if it is another "
            "user's that was left behind."
        ) from error


def _flock(descriptor: int) -> bool | None:
    """Try the operating system's lock: True if we got it, False if another holds it, None without such locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    return True


def _read(path: Path, *, patient: bool) -> Holder | None:
    """Return whom a lock's file names; None if nobody, as when its process was killed before it could write."""
    for _ in range(10 if patient else 1):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            return Holder(**{entry.name: entry.type(said[entry.name]) for entry in fields(Holder)})  # type: ignore[operator]
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(POLL_SECONDS / 2 if patient else 0)
    return None


def _lives(holder: Holder, path: Path, *, flocked: bool, mine: Holder) -> bool:
    """Whether the holder of a lock that was found still runs."""
    if holder.host == mine.host:
        if flocked:
            return False
        if os.name == "posix":
            return _born(holder.pid) == holder.born if holder.born else _exists(holder.pid)
    elif holder.job and holder.job == mine.job and holder.restarts < mine.restarts:
        return False
    print(f"purer: '{path.parent}' was in use on {holder.host}; looking whether it still is.", file=sys.stderr)
    before, until = path.stat().st_mtime_ns, time.monotonic() + STALE_SECONDS
    while time.monotonic() < until:
        time.sleep(POLL_SECONDS)
        try:
            with path.open("rb") as file:  # opening it asks the server of a network file system anew
                if os.fstat(file.fileno()).st_mtime_ns != before:
                    return True
        except FileNotFoundError:
            return False
    return False


def _beat(descriptor: int, done: Event) -> None:
    while not done.wait(BEAT_SECONDS):
        with suppress(OSError):
            os.utime(descriptor)


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _born(pid: int) -> str:
    """Return when a process began, or None where it does not exist or the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True
