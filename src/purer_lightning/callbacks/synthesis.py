"""SynthesisCallback: feeds the dynamic dataset. Makes the bank, sharpens it before training, saves and restores it."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor

from purer_lightning.callbacks.checkpoint import save_between_steps
from purer_lightning.data.splits import ImageSplit, open_split
from purer_lightning.errors import PurerError
from purer_lightning.inversion.bank import ImageBank, moments_by_class
from purer_lightning.running.progress import JobProgress
from purer_lightning.training import PurerModule
from purer_lightning.training.checks import weights_dtype
from purer_lightning.training.data_module import PseudoEpisodeDataModule


class SynthesisCallback(Callback):
    """Keeps the bank of a ``PseudoEpisodeDataModule`` alive through a run of ``PurerModule``.

    During training each data step of ``PurerModule`` moves the bank's images in place, so the next episodes see them.

    Args:
        initial_steps: data steps (without adversarial term) before the first meta-update. 0 in the released code,
            whose images start as noise and sharpen while the meta-model already learns from them. A run may be
            stopped and saved between two of them.
        source: what the bank holds. "pool": images inverted from the pool's teachers. "real": the real images that
            the teachers were trained on, the ceiling that no data-free method can pass. It says so loudly, and wants
            no data steps. All images are in memory as float32, 472 MB for CIFAR-FS; checkpoints leave them out.
        on_disk: keep the bank and Adam's moments of it in memory-mapped files in the run folder, one set a rank, for
            pools of so many classes that they do not fit into memory (docs/scaling.md). On CPUs alone.
    """

    def __init__(self, initial_steps: int = 0, source: Literal["pool", "real"] = "pool", on_disk: bool = False) -> None:
        self.initial_steps = initial_steps
        self.source = source
        self.on_disk = on_disk
        self._trainer: Trainer | None = None
        self._steps_done = 0  # of the initial ones

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the bank, before the optimiser of its images is made.

        Raises:
            PurerError: real images with data steps, or what ``real_bank`` raises.
        """
        if stage != "fit" or not isinstance(pl_module, PurerModule):
            return
        self._trainer = trainer
        data: PseudoEpisodeDataModule = trainer.datamodule  # type: ignore[attr-defined]  # Lightning types it as absent
        if self.source == "real":
            self._check_no_data_steps(pl_module)
            data.bank = real_bank(data)
            say_that_it_is_a_ceiling(data.bank)
        else:
            data.make_bank(Path(trainer.default_root_dir) if self.on_disk else None)
        data.bank.to(trainer.strategy.root_device, weights_dtype(trainer))

    def _check_no_data_steps(self, pl_module: PurerModule) -> None:
        curriculum = pl_module.switch.settings.enabled
        if self.initial_steps > 0 or pl_module.data_step_every > 0 or curriculum:
            raise PurerError(
                f"Expected no data steps on real images, which stay as they are, but synthesis.initial_steps is "
                f"{self.initial_steps}, model.data_step_every {pl_module.data_step_every} and "
                f"model.curriculum.enabled {str(curriculum).lower()}; set them to 0, 0 and false, or "
                f"synthesis.source to pool."
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the moments that a checkpoint has brought lie where the images do."""
        if isinstance(pl_module, PurerModule):
            pl_module.bank.keep_moments(trainer.optimizers[1])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run what is left of the initial inversion before the first update.

        Raises:
            Interrupted: see ``LastCheckpoint``.
        """
        if trainer.global_step > 0 or not isinstance(pl_module, PurerModule):
            return
        total, done = self.initial_steps, self._steps_done
        shown = trainer.is_global_zero and trainer.progress_bar_callback is not None and done < total
        with JobProgress("initial inversion", "steps", total, done=done, enabled=shown) as job:
            while self._steps_done < total:
                # Negative updates: their random numbers are not used again.
                with trainer.precision_plugin.train_step_context():
                    loss = pl_module.data_step(self._steps_done - total).total
                self._steps_done += 1
                job.advance_to(self._steps_done, partial("loss {:.1f}".format, loss))
                save_between_steps(trainer, f"step {self._steps_done} of {total} of the initial inversion")

    def state_dict(self) -> dict[str, Any]:
        """The bank's images and the initial steps done; of real images that they are: ``setup`` reads them again."""
        if self._trainer is None:
            return {}
        if self.source == "real":
            return {"source": "real"}
        images: Tensor = self._trainer.datamodule.bank.images.detach()  # type: ignore[attr-defined]
        kept = images if self.on_disk else images.cpu().clone()  # a copy may not fit into memory
        return {"images": kept, "initial_steps_done": self._steps_done}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take an older checkpoint's moments of the images, too."""
        del trainer, pl_module
        if len(checkpoint.get("optimizer_states", [])) > 1:
            moments_by_class(checkpoint["optimizer_states"][1])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the saved images back.

        Raises:
            PurerError: the checkpoint's bank is of the other source, or has another shape: another pool, or other
                images_per_class.
        """
        if self._trainer is None:
            return
        saved_source = "pool" if "images" in state_dict else "real"
        if saved_source != self.source:
            raise PurerError(
                f"The checkpoint's run had synthesis.source '{saved_source}', but this one has '{self.source}'; resume "
                f"with the settings of the checkpoint's run."
            )
        if self.source == "real":
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
        self._steps_done = state_dict.get("initial_steps_done", self.initial_steps)  # older ones come after them all


@rank_zero_only
def say_that_it_is_a_ceiling(bank: ImageBank) -> None:
    """Print one loud line on standard error, so that nobody takes the run's result for a data-free one."""
    classes, each = bank.images.shape[:2]
    Console(stderr=True).print(
        f"Ceiling: trained on the real meta-train images ({classes} classes of {each}), not data-free.",
        style="bold red",
        highlight=False,
        soft_wrap=True,
    )


def real_bank(data: PseudoEpisodeDataModule) -> ImageBank:
    """Make a bank of the real images of the pool's classes, which lie in the train splits of their data sets.

    Its rows are in the pool's order of classes, as those of an inverted bank are. Images are normalised as the pool
    is. Each class has as many as the one with the fewest; those of CIFAR-FS all have 600.

    Args:
        data: set up for ``fit``.

    Raises:
        PurerError: a data set is not prepared or of another shape, its train split lacks a class of the pool, or a
            class has fewer images than an episode needs.
    """
    classes = data.teachers.classes
    splits = {name: open_split(data.root, name, "train") for name in sorted({known.dataset for known in classes})}
    _check_splits(data, splits)
    positions = [splits[known.dataset].class_names.index(known.name) for known in classes]
    each = min(int(splits[known.dataset].counts[position]) for known, position in zip(classes, positions, strict=True))
    if data.shot + data.query > each:
        raise PurerError(
            f"An episode needs shot + query = {data.shot} + {data.query} = {data.shot + data.query} distinct images a "
            f"class, but a class of the pool has only {each} real ones; lower data.shot or data.query."
        )
    images = torch.empty(len(classes), each, data.channels, data.image_size, data.image_size)
    for row, (known, position) in enumerate(zip(classes, positions, strict=True)):
        images[row] = data.normalisation.apply(splits[known.dataset].of_class(position)[:each])
    return ImageBank.fixed(images)


def _check_splits(data: PseudoEpisodeDataModule, splits: dict[str, ImageSplit]) -> None:
    for name, split in splits.items():
        if (split.channels, split.image_size) != (data.channels, data.image_size):
            raise PurerError(
                f"The pool in '{data.pool}' is for images of {data.channels} x {data.image_size} x {data.image_size}, "
                f"but '{name}' in '{data.root}' has {split.channels} x {split.image_size} x {split.image_size}; "
                f"choose another data.pool or data.root."
            )
    for known in data.teachers.classes:
        if known.name not in splits[known.dataset].class_names:
            raise PurerError(
                f"Expected the train split of '{known.dataset}' in '{data.root}' to have every class of the pool in "
                f"'{data.pool}', but it lacks '{known.name}'; choose the data.root that the pool was trained on."
            )
