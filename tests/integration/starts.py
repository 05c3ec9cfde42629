"""Real processes that run ``purer``, forked from one that has everything imported, and the comparison of their runs."""

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from purer_lightning.cli import main

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["purer_lightning.trainer_cli"])


def start(words: list[str], log: Path, before: Callable[..., None] | None = None, *args: int) -> BaseProcess:
    """Start ``purer`` with these words in a process of its own, whose output goes to ``log``.

    Args:
        words: after ``purer``.
        log: is appended to.
        before: is called in the process first, with ``args``.
        args: see above.
    """
    process = CONTEXT.Process(target=_run, args=(words, log, before, args))
    process.start()
    return process


def _run(words: list[str], log: Path, before: Callable[..., None] | None, args: tuple[int, ...]) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    torch.set_num_threads(1)
    if before:
        before(*args)
    main(words)


def die_in_file_operation(number: int) -> None:
    """Let this process kill itself in the midst of its second checkpoint, in the ``number``-th operation on files.

    The first operation is to write the checkpoint, of which half is written then; the others are to sync, to give a
    second name, to replace.
    """
    saves, since = [0], [0]

    def is_time() -> bool:
        since[0] += saves[0] == 2
        return since[0] == number

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def counted(operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if is_time():
                die()
            return operation(*args, **kwargs)

        return call

    save = torch.save

    def save_counted(content: object, file: Any) -> None:
        saves[0] = min(saves[0] + 1, 2)
        save(content, file)
        if is_time():
            file.truncate(file.tell() // 2)
            die()

    torch.save = save_counted  # type: ignore[assignment]
    os.fsync = counted(os.fsync)
    Path.replace = counted(Path.replace)  # type: ignore[method-assign]
    Path.hardlink_to = counted(Path.hardlink_to)  # type: ignore[method-assign]


def fill_the_disk(size: int) -> None:
    """Let this process make no file of more than ``size`` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def assert_same_run(found: Path, wanted: Path) -> None:
    """Compare two run folders to the bit: weights, moments, bank, curriculum, what was logged, what was the best."""
    for name in ("last.ckpt", "best.ckpt"):
        states = [torch.load(run / "checkpoints" / name, weights_only=True) for run in (found, wanted)]
        for part in ("global_step", "epoch", "state_dict", "optimizer_states", "curriculum", "objective"):
            torch.testing.assert_close(states[0][part], states[1][part], rtol=0, atol=0, msg=f"{name}: {part}")
        images = [state["callbacks"]["SynthesisCallback"]["images"] for state in states]
        assert torch.equal(*images), name
    assert (found / "metrics.csv").read_bytes() == (wanted / "metrics.csv").read_bytes()
    times = [[line.split(",")[::2] for line in (run / "times.csv").read_text().splitlines()] for run in (found, wanted)]
    assert times[0] == times[1]
    assert sorted(path.name for path in found.rglob("*")) == sorted(path.name for path in wanted.rglob("*"))
