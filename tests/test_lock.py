"""A folder that is in use is refused to others, and free again once its process has ended, however it ended."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from purer_lightning.errors import PurerError
from purer_lightning.files import LOCK, lock, locked

ANOTHER = {"command": "purer fit", "host": "elsewhere", "pid": 7, "born": "1", "since": "2026-12-01 12:00:00"}
ANOTHER |= {"job": "12", "restarts": 0}
HOLD = """
import sys, time
from pathlib import Path
from purer_lightning.files import locked
with locked(Path(sys.argv[1]), "purer fit", ""):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the folder's lock."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture(params=["flock", "no flock"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with and without the operating system's lock, for this process."""
    if request.param == "no flock":
        monkeypatch.setattr(lock, "_flock", lambda _: None)


def touch_later(path: Path) -> None:
    time.sleep(0.5)
    os.utime(path)


def use(folder: Path, wait_seconds: float = 0.0) -> None:
    with locked(folder, "purer pool add", "name another folder", wait_seconds):
        pass


@pytest.mark.usefixtures("system")
def test_who_comes_second_is_told_who_holds_it(holding: subprocess.Popen[str], tmp_path: Path) -> None:
    who = f"purer fit \\(process {holding.pid} on {socket.gethostname()}, since 20"
    with pytest.raises(PurerError, match=f"in use by {who}.*; wait until it has ended, or name another folder"):
        use(tmp_path)
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == holding.pid


@pytest.mark.usefixtures("system")
def test_the_lock_of_a_killed_process_is_taken_at_once(holding: subprocess.Popen[str], tmp_path: Path) -> None:
    holding.send_signal(signal.SIGKILL)
    holding.wait()
    assert (tmp_path / LOCK).exists()
    use(tmp_path)
    assert not (tmp_path / LOCK).exists()


@pytest.mark.usefixtures("system")
def test_a_process_that_has_got_the_number_of_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    mine = {**ANOTHER, "host": socket.gethostname(), "pid": os.getpid(), "born": "1"}
    (tmp_path / LOCK).write_text(json.dumps(mine))
    use(tmp_path)


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', "null"])
def test_a_lock_that_says_nothing_is_taken(content: str, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(content)
    use(tmp_path)


def test_one_waits_as_long_as_one_is_willing_to(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as threads:
        with locked(tmp_path, "purer pool add", ""):
            second = threads.submit(use, tmp_path, 10.0)
            time.sleep(0.3)
            assert not second.done()
        second.result(timeout=5)


def test_many_at_once_are_one_after_the_other(tmp_path: Path) -> None:
    inside: list[int] = []

    def enter(number: int) -> list[int]:
        with locked(tmp_path, "purer pool add", "", 30.0):
            inside.append(number)
            time.sleep(0.01)
            seen = list(inside)
            inside.remove(number)
        return seen

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(enter, range(20))) == [[number] for number in range(20)]


@pytest.mark.parametrize("lives", [True, False])
def test_the_lock_of_another_host_holds_as_long_as_it_is_touched(
    lives: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "STALE_SECONDS", 1.0)
    (tmp_path / LOCK).write_text(json.dumps(ANOTHER))
    with ThreadPoolExecutor() as threads:
        if lives:
            threads.submit(touch_later, tmp_path / LOCK)
            with pytest.raises(PurerError, match="process 7 on elsewhere"):
                use(tmp_path)
        else:
            use(tmp_path)


def test_a_holder_touches_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.05)
    with locked(tmp_path, "purer fit", ""):
        os.utime(tmp_path / LOCK, (0, 0))
        time.sleep(0.5)
        assert (tmp_path / LOCK).stat().st_mtime > 1


@pytest.mark.parametrize("restarts", ["", "1"])
def test_a_job_of_slurm_that_was_put_back_goes_on_at_once_and_its_other_steps_do_not(
    restarts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    monkeypatch.setattr(lock, "STALE_SECONDS", 1.0)
    (tmp_path / LOCK).write_text(json.dumps(ANOTHER))
    started = time.monotonic()
    use(tmp_path)
    assert (time.monotonic() - started < 0.9) == bool(restarts)


def test_the_lock_of_whoever_came_after_is_not_removed(tmp_path: Path) -> None:
    with locked(tmp_path, "purer fit", ""):
        (tmp_path / LOCK).unlink()
        (tmp_path / LOCK).write_text("another's")
    assert (tmp_path / LOCK).read_text() == "another's"
