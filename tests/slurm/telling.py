"""A callback for tests: a test is sent what a job is sent before its time is over."""

import os
import signal

from lightning import Callback, LightningModule, Trainer


class ToldInATest(Callback):
    """Sends SIGUSR1 to this process before the first episodes of a test are scored."""

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int, *_: object
    ) -> None:
        """Send it."""
        del trainer, pl_module, batch
        if batch_idx == 0:
            os.kill(os.getpid(), signal.SIGUSR1)
