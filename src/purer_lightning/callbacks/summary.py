"""SummaryCallback: what a training run took, and how its accuracy grew with time, for the results table."""

import csv
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from purer_lightning import __version__
from purer_lightning.files import replacing
from purer_lightning.running.names import SUMMARY, TIMES

ACCURACY = "val/accuracy"


class SummaryCallback(Callback):
    """Writes ``summary.json`` into the run folder when training ends: updates, minutes, peak memory, the machine.

    After each validation it writes ``times.csv`` there: a line ``update,minutes,val/accuracy`` for each so far, minutes
    since the start of the fit, accuracy in 0 to 1. They have a file of their own since metrics.csv holds what the same
    seed computes again to the bit, and minutes are not that.

    The minutes add up over the starts of a run that was resumed: each checkpoint holds those up to it, and the lines of
    times.csv. What an interrupted start did after its last checkpoint is done again and counted once. The peak memory
    is that of the last start's process that trained; a start that finds nothing left to do changes no summary.
    """

    def __init__(self) -> None:
        self._earlier_minutes = 0.0
        self._started: float | None = None
        self._trained = False  # in this start
        self._times: list[list[float]] = []  # rows of times.csv

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        self._started = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that there is something to do; Lightning does not come here for a run that is done."""
        del trainer, pl_module
        self._trained = True

    def minutes(self) -> float:
        """Return the minutes of training so far: those of earlier starts, and those since this one."""
        since = 0.0 if self._started is None else (time.monotonic() - self._started) / 60
        return self._earlier_minutes + since

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the minutes so far and the lines of times.csv."""
        return {"minutes": self.minutes(), "times": [list(row) for row in self._times]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting from a checkpoint's minutes, and forget the validations that came after it."""
        self._earlier_minutes = float(state_dict["minutes"])
        self._times = [list(row) for row in state_dict.get("times", [])]  # older checkpoints have none

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write times.csv anew with this validation's line, so that it is whole and has no line twice."""
        del pl_module
        accuracy = trainer.callback_metrics.get(ACCURACY)
        if self._started is None or trainer.sanity_checking or accuracy is None:
            return
        self._times.append([trainer.global_step, self.minutes(), float(accuracy)])
        with (
            replacing(Path(trainer.default_root_dir) / TIMES) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            csv.writer(file).writerows([("update", "minutes", ACCURACY), *self._times])

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock and write the file, whole or not at all, unless it says all there is to say."""
        self._earlier_minutes, self._started = self.minutes(), None
        path = Path(trainer.default_root_dir) / SUMMARY
        if path.exists() and not self._trained:
            return
        summary = {
            "updates": trainer.global_step,
            "minutes": self._earlier_minutes,
            "peak_memory_gib": peak_memory_gib(),
            "device": str(pl_module.device),
            "ranks": trainer.world_size,
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "torch": str(torch.__version__),
            "purer_lightning": __version__,
        }
        with replacing(path) as file:
            file.write_text(json.dumps(summary, indent=2) + "\n")


def peak_memory_gib() -> float:
    """Return the largest resident memory of this process so far, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kibibytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
