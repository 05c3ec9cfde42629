"""SummaryCallback: what a training run took, for the results table."""

import json
import os
import platform
import resource
import sys
import time
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from purer_lightning import __version__


class SummaryCallback(Callback):
    """Writes ``summary.json`` into the run folder when training ends: updates, minutes, peak memory, the machine."""

    def __init__(self) -> None:
        self._started = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        self._started = time.monotonic()

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file. The minutes are those since the last start of a run that was resumed."""
        summary = {
            "updates": trainer.global_step,
            "minutes": (time.monotonic() - self._started) / 60,
            "peak_memory_gib": peak_memory_gib(),
            "device": str(pl_module.device),
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "torch": str(torch.__version__),
            "purer_lightning": __version__,
        }
        (Path(trainer.default_root_dir) / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")


def peak_memory_gib() -> float:
    """Return the largest resident memory of this process so far, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kibibytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
