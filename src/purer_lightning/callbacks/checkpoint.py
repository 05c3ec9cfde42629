"""LastCheckpoint: saves everything that is needed to resume a run exactly."""

import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only

from purer_lightning.callbacks.summary import ACCURACY
from purer_lightning.data.real_episodes import AT_ONCE
from purer_lightning.files import remove_leftovers, replacing
from purer_lightning.running.checkpoints import BEFORE_LAST, FOLDER, LAST, SETTINGS, VALIDATION_DUE
from purer_lightning.running.csv_log import CsvLog
from purer_lightning.running.loop_state import count_from, follow_move
from purer_lightning.running.sheets import SHEETS
from purer_lightning.running.signals import (
    SIGNALS,
    Interrupted,
    StopRequest,
    largest_of_ranks,
    obey_in_evaluation,
)
from purer_lightning.running.tracking import WandbRun


class LastCheckpoint(Checkpoint):
    """Saves ``checkpoints/last.ckpt`` in the run folder after each epoch, and keeps the one before as before_last.ckpt.

    A run that is killed and resumed from there ends with the same bits, since all that is drawn comes from the number
    of the update and all that has a history is in the checkpoint. What it had logged after the checkpoint is dropped.

    SIGUSR1, SIGTERM and Ctrl-C are obeyed at the end of an update, of a step of the initial inversion, and of a batch
    of a validation, which is then made anew: the run saves and ends with ``Interrupted``. Only the last update's
    validation is waited for: nothing comes after it.

    Args:
        every_minutes: save within an epoch and within the initial inversion, too, where the last time is so many
            minutes ago.

    Attributes:
        settings: of the run, plain values by dotted key, go into each checkpoint.
    """

    def __init__(self, every_minutes: float = 10.0) -> None:
        self.every_minutes = every_minutes
        self.settings: dict[str, Any] = {}
        self._saved_at = 0.0
        self._stop = StopRequest()
        self._validation_due = False  # the validation after the last update has yet to be made, from its beginning

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listen to the signals before training begins, too, but for Ctrl-C: there is nothing to be saved yet."""
        del pl_module
        if stage == "fit":
            self._stop.listen(signal.SIGUSR1, signal.SIGTERM)
        else:
            obey_in_evaluation(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reinstall our signal handlers, which Lightning has replaced."""
        del pl_module
        obey_in_evaluation(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same for a validation that is no fit's."""
        del pl_module
        if trainer.state.fn != TrainerFn.FITTING:
            obey_in_evaluation(trainer)

    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Clear away what a killed process has left."""
        del pl_module
        run = Path(trainer.default_root_dir)
        for folder in (run, run / FOLDER, run / SHEETS):
            remove_leftovers(folder)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop what was logged after the checkpoint; take the signals back that Lightning has come to handle."""
        del pl_module
        self._saved_at = time.monotonic()
        self._stop.listen(*SIGNALS)
        for logger in trainer.loggers:
            if isinstance(logger, CsvLog):
                logger.cut(trainer.global_step, due=ACCURACY if self._validation_due else None)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store the settings, so that a resumed run can report changes, and whether a validation is pending."""
        del trainer, pl_module
        checkpoint[SETTINGS], checkpoint[VALIDATION_DUE] = self.settings, self._validation_due

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Start Lightning's loops at the right update, and point at the best checkpoint's present place."""
        del pl_module
        data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning types it as absent
        self._validation_due = checkpoint.get(VALIDATION_DUE, False)
        loop, updates = checkpoint["loops"]["fit_loop"], checkpoint["global_step"]
        count_from(loop, updates, data.updates_per_epoch, validation_due=self._validation_due)
        for callback in trainer.checkpoint_callbacks:
            state = checkpoint["callbacks"].get(callback.state_key)
            if isinstance(callback, ModelCheckpoint) and state and callback.dirpath and trainer.ckpt_path:
                follow_move(state, Path(trainer.ckpt_path).resolve().parent, Path(callback.dirpath))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Save if it is time; an epoch's last update comes later, after the validation (``on_train_epoch_end``)."""
        del pl_module, args
        if not trainer.is_last_batch:
            self.save_if_due(trainer, f"update {trainer.global_step}")

    def save_if_due(self, trainer: Trainer, done: str, *, due: bool = False) -> None:
        """Save if it is time or if a rank received a signal, which stops an unfinished run; every rank must call this.

        Args:
            trainer: of the run.
            done: what it has done, in words.
            due: save, whatever the time.

        Raises:
            Interrupted: a signal asked the run to stop, and it is saved.
        """
        is_time = due or time.monotonic() - self._saved_at >= 60 * self.every_minutes
        wanted = largest_of_ranks(trainer, self._stop.number or int(is_time))  # SIGUSR1 and the like are above 1
        if wanted:
            self.save(trainer)
        if wanted > 1 and not is_over(trainer):
            raise Interrupted(wanted, done, trainer.default_root_dir)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Stop within a fit's validation if a rank received a signal."""
        del pl_module, outputs, batch
        if trainer.state.fn != TrainerFn.FITTING or is_over(trainer) or batch_idx >= batches_of_all(trainer):
            return
        if largest_of_ranks(trainer, self._stop.number):
            self._validation_due = True
            self.save_if_due(trainer, f"update {trainer.global_step} and before its validation")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Mark the validation as done."""
        del trainer, pl_module
        self._validation_due = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save. The best checkpoint's callback runs before this one, so its state is saved, too."""
        del pl_module
        self.save_if_due(trainer, f"update {trainer.global_step}", due=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Mark the W&B run as preempted rather than failed."""
        del pl_module
        for logger in trainer.loggers:
            if isinstance(logger, WandbRun) and isinstance(exception, Interrupted):
                logger.mark_preempted()

    def save(self, trainer: Trainer) -> None:
        """Save last.ckpt, on all ranks at once.

        Raises:
            PurerError: it cannot be written.
        """
        for logger in trainer.loggers:
            if isinstance(logger, CsvLog):
                logger.flush()
        last = Path(trainer.default_root_dir) / FOLDER / LAST
        trainer.save_checkpoint(last, weights_only=False)  # that is, with all that training needs
        self._saved_at = time.monotonic()


def is_over(trainer: Trainer) -> bool:
    """Whether the run has made all its updates."""
    return 0 <= trainer.max_steps <= trainer.global_step


def batches_of_all(trainer: Trainer) -> int:
    """Return how many batches of meta-val every rank has at least; some have one more, of which no other knows."""
    episodes = trainer.datamodule.validation_episodes // trainer.world_size  # type: ignore[attr-defined]
    common = math.ceil(episodes / AT_ONCE)
    limit = trainer.limit_val_batches
    return int(common * limit) if isinstance(limit, float) else min(common, limit)


def save_between_steps(trainer: Trainer, done: str) -> None:
    """Let the run's ``LastCheckpoint``, if it has one, save and stop before the first update, see ``save_if_due``."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, LastCheckpoint):
            callback.save_if_due(trainer, done)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes each checkpoint whole or not at all, keeps the one before the last, reads tensors and plain values alone.

    Lightning (2.6) writes it into the system's temporary folder and moves it, which is a copy where that is another
    file system: not atomic.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            PurerError: it cannot be written, for example since the disk is full.
        """
        del storage_options
        path = Path(path)
        with replacing(path, parents=True) as temporary, temporary.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # what torch makes of the file's own error
                raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
            if path.name == LAST and path.exists():
                file.flush()
                # As late as this, so that they are two files again at once.
                keep_as(path.resolve(), path.with_name(BEFORE_LAST))

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Read a checkpoint without running code, whatever ``weights_only`` says."""
        del weights_only
        content: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        return content


def keep_as(path: Path, kept: Path) -> None:
    """Give a file a second name, replacing whatever has that name, with no moment at which the name is missing."""
    with replacing(kept) as temporary:
        try:
            temporary.hardlink_to(path)
        except OSError:  # a file system without hard links: for a moment there is no ``path``, but ``kept``
            path.replace(temporary)
