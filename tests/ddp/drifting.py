"""A callback for tests: one rank's copy goes wrong by one bit."""

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from purer_lightning.training import PurerModule


class OneRankDrifts(Callback):
    """After the first update, rank 1 has another last bit in one weight, or in one pixel."""

    def __init__(self, what: str) -> None:
        self.what = what

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: object) -> None:
        del args
        assert isinstance(pl_module, PurerModule)
        if trainer.global_step == 1 and trainer.global_rank == 1:
            values: Tensor = (
                pl_module.synthesis.bank.images if self.what == "pixel" else next(pl_module.learner.parameters())
            )
            with torch.no_grad():
                one = values.view(-1)[7:8] if values.is_contiguous() else values[0, 0, 0, 0:1]
                one.copy_(torch.nextafter(one, one + 1))
