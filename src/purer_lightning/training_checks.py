"""What a Trainer has to be for PurerModule to train under it, in sentences."""

import torch
from lightning import Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from purer_lightning.errors import PurerError

PRECISIONS = {"32-true": torch.float32, "64-true": torch.float64, "bf16-mixed": torch.float32}
"""Precision of a Trainer -> dtype of the weights and of the image bank."""


def check_trainer(trainer: Trainer) -> None:
    """Check precision and strategy of a Trainer that is to fit.

    Raises:
        PurerError: a precision or a strategy in which the method does not work, or a sampler that would share out the
            meta-updates over ranks.
    """
    if trainer.precision == "16-mixed":
        raise PurerError(
            "The gradients of the inner loop and of the images are not scaled, so they vanish in float16; set "
            "trainer.precision to bf16-mixed or 32-true."
        )
    if trainer.precision not in PRECISIONS:
        raise PurerError(
            f"Expected trainer.precision to be one of {', '.join(PRECISIONS)}, but got {trainer.precision}: images and "
            "weights move by steps that half precision cannot hold."
        )
    if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
        raise PurerError(
            f"Expected trainer.strategy to be auto or ddp, but got {type(trainer.strategy).__name__}: every rank needs "
            "the whole meta-model, which is small."
        )
    if trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
        raise PurerError(
            "Each rank takes part in every meta-update, but trainer.use_distributed_sampler is true and would give "
            "each rank updates of its own; set it to false (the purer command does)."
        )
