"""SynthesisCallback: feeds the dynamic dataset. Makes the bank, sharpens it before training, saves and restores it."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from rich.progress import track

from purer_lightning.errors import PurerError
from purer_lightning.training import PurerModule


class SynthesisCallback(Callback):
    """Keeps the bank of a ``PseudoEpisodeDataModule`` alive through a run of ``PurerModule``.

    During training each data step of ``PurerModule`` moves the bank's images in place, so the next episodes see them.

    Args:
        initial_steps: data steps (without adversarial term) before the first meta-update. 0 in the released code,
            whose images start as noise and sharpen while the meta-model already learns from them.
    """

    def __init__(self, initial_steps: int = 0) -> None:
        self.initial_steps = initial_steps
        self._saved: dict[str, Any] | None = None
        self._trainer: Trainer | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the bank, before the optimiser of its images is made."""
        if stage != "fit" or not isinstance(pl_module, PurerModule):
            return
        self._trainer = trainer
        bank = trainer.datamodule.make_bank()  # type: ignore[attr-defined]  # Lightning types it as absent
        bank.to(trainer.strategy.root_device)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run the initial inversion, unless the run is resumed."""
        if trainer.global_step > 0 or not isinstance(pl_module, PurerModule):
            return
        steps = range(-self.initial_steps, 0)  # negative updates: their random numbers are not used again
        for update in track(steps, "initial inversion", disable=not trainer.is_global_zero or not steps):
            pl_module.data_step(update)

    def state_dict(self) -> dict[str, Any]:
        """The bank's images."""
        if self._trainer is None:
            return {}
        return {"images": self._trainer.datamodule.bank.images.detach().cpu().clone()}  # type: ignore[attr-defined]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the saved images back.

        Raises:
            PurerError: the checkpoint's bank has another shape: another pool, or other images_per_class.
        """
        if self._trainer is None:
            return
        images = self._trainer.datamodule.bank.images  # type: ignore[attr-defined]
        saved = state_dict["images"]
        if saved.shape != images.shape:
            raise PurerError(
                f"The checkpoint's image bank has shape {tuple(saved.shape)}, but this pool and images_per_class make "
                f"one of {tuple(images.shape)}; resume with the settings of the checkpoint's run."
            )
        with torch.no_grad():
            images.copy_(saved)
