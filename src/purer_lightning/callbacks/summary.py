"""SummaryCallback: what a training run took, for the results table."""

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


class SummaryCallback(Callback):
    """Writes ``summary.json`` into the run folder when training ends: updates, minutes, peak memory, the machine.

    The minutes add up over the starts of a run that was resumed: each checkpoint holds those up to it. What an
    interrupted start did after its last checkpoint is done again and counted once. The peak memory is that of the last
    start's process.
    """

    def __init__(self) -> None:
        self._earlier_minutes = 0.0
        self._started: float | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        self._started = time.monotonic()

    def minutes(self) -> float:
        """Return the minutes of training so far: those of earlier starts, and those since this one."""
        since = 0.0 if self._started is None else (time.monotonic() - self._started) / 60
        return self._earlier_minutes + since

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the minutes so far."""
        return {"minutes": self.minutes()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting from a checkpoint's minutes."""
        self._earlier_minutes = float(state_dict["minutes"])

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock and write the file, whole or not at all."""
        self._earlier_minutes, self._started = self.minutes(), None
        summary = {
            "updates": trainer.global_step,
            "minutes": self._earlier_minutes,
            "peak_memory_gib": peak_memory_gib(),
            "device": str(pl_module.device),
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "torch": str(torch.__version__),
            "purer_lightning": __version__,
        }
        with replacing(Path(trainer.default_root_dir) / "summary.json") as file:
            file.write_text(json.dumps(summary, indent=2) + "\n")


def peak_memory_gib() -> float:
    """Return the largest resident memory of this process so far, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kibibytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
