"""Real processes that run ``purer``, forked from one that has everything imported, and the comparison of their runs."""

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import torch

from purer_lightning.cli import main

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["purer_lightning.cli.trainer"])


def start(words: list[str], log: Path, before: Callable[..., None] | None = None, *args: int | str) -> BaseProcess:
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


def _run(words: list[str], log: Path, before: Callable[..., None] | None, args: tuple[int | str, ...]) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    torch.set_num_threads(1)
    if before:
        before(*args)
    main(words)


def small_fit(toy_data: Path, toy_pool: Path) -> list[str]:
    """Return the words of a fit of parts of a second an update, each saved."""
    return [
        *("fit", "--config", "demo.yaml", "--data.dataset", "toy", "--data.root", str(toy_data)),
        *("--data.pool", str(toy_pool), "--data.way", "2", "--data.query", "1", "--data.episodes_per_update", "2"),
        *("--data.updates_per_epoch", "4", "--data.validation_episodes", "3", "--synthesis.initial_steps", "1"),
        *("--model.curriculum.warm_up", "4", "--model.curriculum.patience", "2", "--trainer.accelerator", "cpu"),
        *("--model.learner.init_args.arguments", "{width: 4}", "--trainer.enable_progress_bar", "false"),
        *("--last_checkpoint.every_minutes", "0", "--ckpt_path", "last"),
    ]


class Whole(NamedTuple):
    """A run that nobody has interrupted, and how long it took to its first update."""

    folder: Path
    seconds: float


def fit_whole(folder: Path, words: list[str]) -> Whole:
    start(["--version"], folder.with_suffix(".log")).join()  # the first one waits for the imports
    began = time.monotonic()
    process = start([*words, "--run", str(folder)], folder.with_suffix(".log"))
    while not (folder / "metrics.csv").exists() and process.is_alive():
        time.sleep(0.01)
    seconds = time.monotonic() - began
    process.join()
    assert process.exitcode == 0, folder.with_suffix(".log").read_text()
    return Whole(folder, seconds)


def signal_after(number: int, method: str, call: int) -> None:
    """Let this process send itself a signal at the end of the ``call``-th call of a method of what a Trainer runs."""
    from purer_lightning.evaluation import IcfilEvaluation
    from purer_lightning.training import PurerModule

    owner = PurerModule if hasattr(PurerModule, method) else IcfilEvaluation
    calls, plain = [0], getattr(owner, method)

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = plain(self, *args, **kwargs)
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), number)
        return result

    setattr(owner, method, counted)


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
        synthesis = [state["callbacks"]["SynthesisCallback"] for state in states]
        assert torch.equal(synthesis[0]["images"], synthesis[1]["images"]), name
        torch.testing.assert_close(synthesis[0]["optimizer"], synthesis[1]["optimizer"], rtol=0, atol=0, msg=name)
    assert (found / "metrics.csv").read_bytes() == (wanted / "metrics.csv").read_bytes()
    times = [[line.split(",")[::2] for line in (run / "times.csv").read_text().splitlines()] for run in (found, wanted)]
    assert times[0] == times[1]
    assert sorted(path.name for path in found.rglob("*")) == sorted(path.name for path in wanted.rglob("*"))
