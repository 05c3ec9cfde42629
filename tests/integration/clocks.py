"""A callback that notes Lightning's clock of batches, by which loggers of Lightning's own place their points."""

from typing import Any

from lightning import Callback, Trainer


class Clock(Callback):
    """Notes meta-updates and Lightning's clock at the end of each update.

    Attributes:
        seen: (updates made, the clock), of all Trainers.
    """

    seen: list[tuple[int, int]] = []  # noqa: RUF012  for all instances, since a Trainer makes its own

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """Note both."""
        del args
        self.seen.append((trainer.global_step, trainer.fit_loop.epoch_loop._batches_that_stepped))
