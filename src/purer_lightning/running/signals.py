"""Signals that stop a run: noted when they arrive, obeyed between two steps, where a checkpoint is exact."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from lightning import Trainer
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from purer_lightning.running.run_folder import is_first_rank

# By Slurm before its time limit (sbatch --signal), by Slurm at a preemption and by most other systems, by Ctrl-C.
SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """A run has stopped at a signal, and is saved.

    Args:
        number: of the signal.
        done: what the run has done, in words.
        run: the run folder.
    """

    def __init__(self, number: int, done: str, run: str) -> None:
        super().__init__(f"{signal.Signals(number).name} after {done}")
        self.number, self.done, self.run = number, done, run


class StopRequest:
    """Notes the signal that tells this process to stop.

    Attributes:
        number: of the signal, 0 as long as there is none.
    """

    def __init__(self) -> None:
        self.number = 0

    def listen(self, *numbers: int) -> None:
        """Note these signals from now on, in place of earlier handlers. Works in the main thread alone."""
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGINT and self.number:
            raise KeyboardInterrupt
        self.number = number
        if is_first_rank():
            once_more = "; once more to stop at once" if number == signal.SIGINT else ""
            line = f"\npurer: {signal.Signals(number).name}: saving at the end of this step{once_more}.\n"
            os.write(2, line.encode())  # print is not allowed within a print that the signal has interrupted


def obey_in_evaluation(trainer: Trainer) -> None:
    """Let SIGTERM end a validation or a test at once, and SIGUSR1 not at all: there is nothing to be saved.

    They take the place of Lightning's (2.6), which saves a checkpoint on SIGUSR1 from which no run can resume, puts the
    job back into the queue, and waits for the end on SIGTERM.
    """

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        if isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher):
            trainer.strategy.launcher.kill(signal.Signals(number))  # the other ranks, which would wait for this one
        raise Interrupted(number, "", trainer.default_root_dir)

    def go_on(number: int, frame: FrameType | None) -> None:
        del number, frame
        if is_first_rank():
            os.write(2, b"\npurer: SIGUSR1: there is nothing to save, so this goes on.\n")

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGUSR1, go_on)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Restore the previous handlers on exit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def largest_of_ranks(trainer: Trainer, value: int) -> int:
    """Return the largest value of any rank, so that all decide alike; each rank must ask."""
    if trainer.world_size == 1:
        return value
    own = torch.tensor(value, device=trainer.strategy.root_device)
    return int(trainer.strategy.reduce(own, reduce_op="max"))
