"""ProgressCallback: shows what matters during a run, in a terminal and in a log."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.trainer.states import TrainerFn

from purer_lightning.callbacks.summary import ACCURACY
from purer_lightning.evaluation import IcfilEvaluation
from purer_lightning.evaluation.metrics import EpisodeAccuracy
from purer_lightning.running.progress import JobProgress
from purer_lightning.training import PurerModule


class ProgressCallback(ProgressBar):
    """Stands in for Lightning's bars, which know no difficulty, and which leave nothing readable in a log.

    During training: updates, difficulty, firings of the switch, the latest and the best accuracy on meta-val. During
    validation and test: episodes and the mean accuracy so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._job: JobProgress | None = None
        self._validated, self._best = "", 0.0

    def disable(self) -> None:
        """Show nothing from now on."""
        self._enabled = False

    def enable(self) -> None:
        """Show the next job."""
        self._enabled = True

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Begin with the first update: the initial inversion, before it, has a bar of its own."""
        if self._job is None:
            total = trainer.max_steps if trainer.max_steps > 0 else None
            self._open("meta-training", "updates", total, trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count one update."""
        if self._job is not None:
            self._job.advance_to(trainer.global_step, lambda: self._of_training(trainer, pl_module))

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Show that a validation is running; it can take as long as the updates before it."""
        del outputs
        job = self._job
        if job is not None and trainer.state.fn == TrainerFn.FITTING:
            done, batches = episodes_of(trainer.val_dataloaders, batch_idx + 1), int(sum(trainer.num_val_batches))
            now = f"validating ({done} of {episodes_of(trainer.val_dataloaders, batches)})"
            job.advance_to(job.done, lambda: f"{self._of_training(trainer, pl_module)}, {now}")
        elif job is not None:
            job.advance_to(job.done + len(batch), lambda: of_evaluation(pl_module))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the accuracy for the lines to come."""
        del pl_module
        accuracy = trainer.callback_metrics.get(ACCURACY)
        if accuracy is not None and trainer.state.fn == TrainerFn.FITTING:
            self._best = max(self._best, best_before(trainer), float(accuracy))
            self._validated = f"meta-val {100 * float(accuracy):.1f} % (best {100 * self._best:.1f} %)"

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the last line."""
        if self._job is not None:
            self._job.advance_to(trainer.global_step, lambda: self._of_training(trainer, pl_module))
        self._close()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a validation by itself."""
        del pl_module
        if trainer.state.fn == TrainerFn.VALIDATING:
            total = episodes_of(trainer.val_dataloaders, int(sum(trainer.num_val_batches)))
            self._open("validating", "episodes", total)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a test."""
        del pl_module
        self._open("testing", "episodes", episodes_of(trainer.test_dataloaders, int(sum(trainer.num_test_batches))))

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Count episodes."""
        del trainer, outputs, batch_idx
        if self._job is not None:
            self._job.advance_to(self._job.done + len(batch), lambda: of_evaluation(pl_module))

    def on_test_end(self, *_: Any) -> None:
        """Leave the last line."""
        self._close()

    def on_exception(self, *_: Any) -> None:
        """Give the terminal back."""
        self._close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the terminal back, also after a validation by itself."""
        del trainer, pl_module, stage
        self._close()

    def _open(self, title: str, unit: str, total: int | None, done: int = 0) -> None:
        self._close()
        self._job = JobProgress(title, unit, total, done=done, enabled=self._enabled)

    def _close(self) -> None:
        if self._job is not None:
            self._job.close()
        self._job = None

    def _of_training(self, trainer: Trainer, module: LightningModule) -> str:
        difficulty = trainer.callback_metrics.get("curriculum/difficulty")
        parts = [f"difficulty {float(difficulty):.3f}" if difficulty is not None else ""]
        if isinstance(module, PurerModule) and module.switch.settings.enabled:
            times = module.switch.firings
            parts.append(f"switch fired {times} time{'s' if times != 1 else ''}")
        return ", ".join(part for part in [*parts, self._validated] if part)


def best_before(trainer: Trainer) -> float:
    """Return the best accuracy on meta-val that a checkpoint was saved for, by earlier starts of the run, too."""
    kept = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    scores = [float(callback.best_model_score or 0) for callback in kept if callback.monitor == ACCURACY]
    return max(scores, default=0.0)


def of_evaluation(module: LightningModule) -> str:
    """Return the mean accuracy by method over the episodes of this process so far."""
    if not isinstance(module, IcfilEvaluation):
        return ""
    metrics = cast(Mapping[str, EpisodeAccuracy], module.accuracies)  # a ModuleDict forgets what it holds
    collected = {method: torch.cat(metric.accuracies) for method, metric in metrics.items()}
    return ", ".join(f"{method} {100 * float(accuracies.mean()):.1f} %" for method, accuracies in collected.items())


def episodes_of(loader: Any, batches: int) -> int:
    """Return how many episodes this process scores: all that it shares in, or those in the first ``batches``."""
    return min(len(loader.sampler), batches * (loader.batch_size or 1))


def with_progress(given: Callback | list[Callback] | None, *, wanted: bool) -> list[Callback]:
    """Return the user's callbacks plus our progress bar, unless it is disabled or already among them."""
    callbacks = given if isinstance(given, list) else [given] if given else []
    told = any(isinstance(callback, ProgressBar) for callback in callbacks)
    return callbacks if told or not wanted else [*callbacks, ProgressCallback()]
