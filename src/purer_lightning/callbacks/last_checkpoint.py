"""LastCheckpoint: what a run goes on from, as though nothing had happened."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from purer_lightning.callbacks.preemption import SIGNALS, Interrupted, StopRequest, largest_of_ranks
from purer_lightning.files import remove_leftovers, replacing
from purer_lightning.report.gallery import SHEETS
from purer_lightning.running.checkpoints import BEFORE_LAST, FOLDER, LAST, SETTINGS
from purer_lightning.running.csv_log import CsvLog


class LastCheckpoint(Checkpoint):
    """Saves ``checkpoints/last.ckpt`` in the run folder after each epoch, and keeps the one before as before_last.ckpt.

    A run that is killed and goes on from there ends with the same bits, since all that is drawn comes from the number
    of the update and all that has a history is in the checkpoint. What it had logged after the checkpoint is dropped.

    SIGUSR1, SIGTERM and Ctrl-C are obeyed at the end of an update: the run saves and ends with ``Interrupted``.

    Args:
        every_minutes: save within an epoch, too, where the last time is so many minutes ago.

    Attributes:
        settings: of the run, plain values by dotted key, go into each checkpoint.
    """

    def __init__(self, every_minutes: float = 10.0) -> None:
        self.every_minutes = every_minutes
        self.settings: dict[str, Any] = {}
        self._saved_at = 0.0
        self._stop = StopRequest()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listen to the signals before training begins, too, but for Ctrl-C: there is nothing to be saved yet."""
        del trainer, pl_module
        if stage == "fit":
            self._stop.listen(signal.SIGUSR1, signal.SIGTERM)

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
                logger.cut(trainer.global_step)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the run's settings, so that a run that goes on with others can say so."""
        del trainer, pl_module
        checkpoint[SETTINGS] = self.settings

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let Lightning's loops begin where the number of updates says, and the best checkpoint be where it is now."""
        del pl_module
        data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning types it as absent
        count_from(checkpoint["loops"]["fit_loop"], checkpoint["global_step"], data.updates_per_epoch)
        for callback in trainer.checkpoint_callbacks:
            state = checkpoint["callbacks"].get(callback.state_key)
            if isinstance(callback, ModelCheckpoint) and state and callback.dirpath and trainer.ckpt_path:
                follow_move(state, Path(trainer.ckpt_path).resolve().parent, Path(callback.dirpath))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Save if it is time; an epoch's last update comes later, after the validation (``on_train_epoch_end``)."""
        del pl_module, args
        if trainer.is_last_batch:
            return
        is_time = time.monotonic() - self._saved_at >= 60 * self.every_minutes
        wanted = largest_of_ranks(trainer, self._stop.number or int(is_time))  # SIGUSR1 and the like are above 1
        if wanted:
            self.save(trainer)
        self._end_if_told(trainer, wanted)

    def _end_if_told(self, trainer: Trainer, wanted: int) -> None:
        if wanted > 1:
            raise Interrupted(wanted, trainer.global_step, trainer.default_root_dir)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save; the best checkpoint's callback comes before this one, so what it has found out is saved, too."""
        del pl_module
        self.save(trainer)
        if trainer.global_step < trainer.max_steps or trainer.max_steps < 0:
            self._end_if_told(trainer, largest_of_ranks(trainer, self._stop.number))

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
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # what torch makes of the file's own error
                raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
            if path.name == LAST and path.exists():
                file.flush()
                keep_as(path, path.with_name(BEFORE_LAST))  # as late as this, so that they are two files again at once

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Read a checkpoint without running code, whatever ``weights_only`` says."""
        del weights_only
        content: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        return content


def count_from(loop: dict[str, Any], updates: int, per_epoch: int) -> None:
    """Rewrite a checkpoint's state of Lightning's (2.6) fit loop as that of a run which has made so many updates.

    Lightning's own state depends on the hook in which it was saved: the end of an epoch is gone through once more, an
    epoch that was cut short counts as a whole one, and its validation never comes. Here the state follows from the
    number of updates: so many whole epochs, each with its validation, and the beginning of another.

    Args:
        loop: is changed.
        updates: made so far.
        per_epoch: updates an epoch, by the settings of the run that goes on.
    """
    epochs, within = divmod(updates, per_epoch)
    begun = int(within > 0)
    epoch = {"ready": epochs + begun, "started": epochs + begun, "processed": epochs, "completed": epochs}
    # Within an epoch this is what Lightning saves in the hook at an update's end, where it is not yet completed.
    counts = dict.fromkeys(("ready", "started", "processed"), (updates, within))
    counts["completed"] = (updates - begun, within - begun)
    loop["epoch_progress"] = {"total": epoch, "current": dict(epoch)}
    loop["epoch_loop.batch_progress"] = {
        "total": {name: total for name, (total, _) in counts.items()},
        "current": {name: current for name, (_, current) in counts.items()},
        "is_last_batch": False,
    }
    loop["epoch_loop.state_dict"] = {"_batches_that_stepped": updates - begun}
    nothing = dict.fromkeys(counts, 0)
    loop["epoch_loop.val_loop.batch_progress"] = {"total": nothing, "current": dict(nothing), "is_last_batch": False}


def follow_move(state: dict[str, Any], found: Path, here: Path) -> None:
    """Rewrite where the best checkpoint is, by a saved state of Lightning's (2.6) ModelCheckpoint, if it was moved.

    Otherwise Lightning would forget the best accuracy so far, and let the next one, worse or not, take its place.

    Args:
        state: is changed, unless the run goes on in another folder than that of its checkpoint.
        found: the folder of the checkpoint that has the state.
        here: the folder in which the best checkpoint is to be.
    """
    if state["dirpath"] == str(here) or here != found or not (here / Path(state["best_model_path"]).name).is_file():
        return
    state["dirpath"] = str(here)
    for name in ("best_model_path", "kth_best_model_path"):  # the latter is empty where several are wanted
        state[name] = str(here / Path(state[name]).name) if state[name] else ""
    state["best_k_models"] = {str(here / Path(path).name): score for path, score in state["best_k_models"].items()}


def keep_as(path: Path, kept: Path) -> None:
    """Let a file be found under a second name, in the place of what has that name, without a moment of neither."""
    with replacing(kept) as temporary:
        try:
            temporary.hardlink_to(path)
        except OSError:  # a file system without hard links: for a moment there is no ``path``, but ``kept``
            path.replace(temporary)
