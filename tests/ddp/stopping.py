"""A callback for tests: one rank alone is told to stop."""

import os
import signal

from lightning import Callback, LightningModule, Trainer


class OneRankIsTold(Callback):
    """Rank 1 is sent SIGTERM when the training begins, or in the first batch of the first validation."""

    def __init__(self, where: str) -> None:
        self.where = where

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """In the initial inversion, which comes after this."""
        del pl_module
        self._tell(trainer, "inversion")

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: object) -> None:
        """In a validation."""
        del pl_module, args
        self._tell(trainer, "validation")

    def _tell(self, trainer: Trainer, where: str) -> None:
        if trainer.global_rank == 1 and self.where == where and trainer.global_step <= 5:
            os.kill(os.getpid(), signal.SIGTERM)
