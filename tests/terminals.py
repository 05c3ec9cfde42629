"""What a command writes to a terminal, and what it writes where there is none."""

import os
import pty
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class Written:
    """What has been written, as text; complete when the context that gave it has ended."""

    text = ""


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """Make standard output a terminal of 80 columns."""
    with monkeypatch.context() as patch, _read(*pty.openpty(), patch) as written:
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", "80")
        yield written


@contextmanager
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Written]:
    """Make standard output a pipe, as a log of Slurm is a file."""
    with monkeypatch.context() as patch, _read(*os.pipe(), patch) as written:
        yield written


@contextmanager
def _read(reading: int, writing: int, patch: pytest.MonkeyPatch) -> Iterator[Written]:
    for name in ("TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR", "FORCE_COLOR"):  # each has a say in what rich does
        patch.delenv(name, raising=False)
    written, pieces = Written(), list[bytes]()

    def drain() -> None:
        try:
            while piece := os.read(reading, 65536):
                pieces.append(piece)
        except OSError:  # how Linux says that the other end of a terminal is closed
            pass

    reader = threading.Thread(target=drain)
    reader.start()
    with os.fdopen(writing, "w") as stream, patch.context() as inner:
        inner.setattr(sys, "stdout", stream)
        yield written
    reader.join()
    os.close(reading)
    written.text = b"".join(pieces).decode()
