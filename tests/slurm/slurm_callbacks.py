"""Callbacks for tests: one sends a test what a job is sent before its time is over, one waits for such a signal."""

import os
import signal
import time
from pathlib import Path

from lightning import Callback, LightningModule, Trainer

GO_ON = "go_on"
HELD_AFTER = 8  # updates: more than a test waits for, fewer than the run has


class ToldInATest(Callback):
    """Sends SIGUSR1 to this process before the first episodes of a test are scored."""

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int, *_: object
    ) -> None:
        """Send it."""
        del trainer, pl_module, batch
        if batch_idx == 0:
            os.kill(os.getpid(), signal.SIGUSR1)


class HeldInAFit(Callback):
    """Holds a fit before an update until the file ``go_on`` is in its run folder, so that it cannot end too soon.

    A fit of parts of a second may be over before Slurm, which looks at its queue each second, has come to preempt it.
    """

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Wait after so many updates, two minutes at the most."""
        del pl_module, batch, batch_idx
        deadline = time.monotonic() + 120
        while trainer.global_step >= HELD_AFTER and not (Path(trainer.default_root_dir) / GO_ON).exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"Nobody has made the file {GO_ON}.")
            time.sleep(0.05)
