"""What tells a run to stop: noted when it comes, obeyed at the end of the update, when a checkpoint is exact."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from lightning import Trainer

from purer_lightning.running.run_folder import is_first_rank

# By Slurm before its time limit (sbatch --signal), by Slurm at a preemption and by most other systems, by Ctrl-C.
SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """A run that was told to stop has stopped, and is saved.

    Args:
        number: of the signal.
        updates: made and saved.
        run: the run folder.
    """

    def __init__(self, number: int, updates: int, run: str) -> None:
        super().__init__(f"{signal.Signals(number).name} after update {updates}")
        self.number, self.updates, self.run = number, updates, run


class StopRequest:
    """Notes the signal that tells this process to stop.

    Attributes:
        number: of the signal, 0 as long as there is none.
    """

    def __init__(self) -> None:
        self.number = 0

    def listen(self, *numbers: int) -> None:
        """Note these signals from now on, in place of whoever handled them. Only the main thread can be told."""
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
            line = f"\npurer: {signal.Signals(number).name}: saving at the end of this update{once_more}.\n"
            os.write(2, line.encode())  # print is not allowed within a print that the signal has interrupted


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Give the signals back to those who handled them before the block."""
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
