"""Checks with readable errors: Trainer settings that cannot work, and a run that has diverged."""

import torch
from lightning import Trainer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from purer_lightning.errors import PurerError

PRECISIONS = {
    "32-true": torch.float32,
    "64-true": torch.float64,
    "bf16-mixed": torch.float32,
    "16-mixed": torch.float32,
}
"""Precision of a Trainer -> dtype of the weights and of the image bank."""


def check_settings(group: str = "", /, **settings: float) -> None:
    """Raise PurerError where one of PurerModule's numbers, by their names within a group, is below 0 or none."""
    for name, value in settings.items():
        if not value >= 0:
            raise PurerError(f"Expected model.{group}{name} to be 0 or more, but got {value}.")


def check_trainer(trainer: Trainer) -> None:
    """Check precision, strategy and validations of a Trainer that is to fit.

    Raises:
        PurerError: a precision or a strategy in which the method does not work, a sampler that would share out the
            meta-updates over ranks, or validations within an epoch, one of which a run that is stopped there and goes
            on would leave out.
    """
    weights_dtype(trainer)
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
    interval = getattr(trainer, "val_check_interval", "a time")  # Lightning (2.6) has none then
    if not isinstance(interval, float) or interval != 1.0:
        raise PurerError(
            f"Validation comes after each epoch, but trainer.val_check_interval is {interval}; leave it out, and set "
            "data.updates_per_epoch to the updates between two validations."
        )
    if (trainer.check_val_every_n_epoch or 0) < 1:
        raise PurerError(
            "The best checkpoint is chosen by validations, but trainer.check_val_every_n_epoch is "
            f"{trainer.check_val_every_n_epoch}; leave it out, or set it to 1 or more."
        )


def check_finite(outer_loss: Tensor, update: int) -> None:
    """Raise PurerError where the run has diverged; its accuracy would quietly be that of guessing."""
    if not torch.isfinite(outer_loss):
        raise PurerError(
            f"The outer loss of meta-update {update} is {outer_loss.item()}: the run has diverged; lower "
            f"model.meta_lr, model.image_lr or the learner's inner_lr."
        )


def weights_dtype(trainer: Trainer) -> torch.dtype:
    """Return the dtype of the weights and of the image bank in a fit.

    Raises:
        PurerError: a precision in which the method does not work.
    """
    if trainer.precision not in PRECISIONS:
        raise PurerError(
            f"Expected trainer.precision to be one of {', '.join(PRECISIONS)}, but got {trainer.precision}: images and "
            "weights move by steps that half precision cannot hold."
        )
    return PRECISIONS[str(trainer.precision)]


def take_scaler(trainer: Trainer) -> None:
    """Take Lightning's scaler of float16 gradients from a Trainer: ``precision.gradients`` scales where they are taken.

    It would divide gradients by a scale that none was multiplied by, and it has a history.
    """
    if isinstance(trainer.precision_plugin, MixedPrecision):
        trainer.precision_plugin.scaler = None
