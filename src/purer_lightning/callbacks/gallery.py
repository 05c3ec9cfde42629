"""GalleryCallback: the bank as pictures, at the end of training and on its way there."""

from pathlib import Path
from typing import TypeGuard

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from purer_lightning.errors import PurerError
from purer_lightning.files import replacing
from purer_lightning.pool.teachers import Pool
from purer_lightning.running.names import PSEUDO_IMAGES
from purer_lightning.running.sheets import Shown, save_gallery, save_sheet
from purer_lightning.running.tracking import WandbRun
from purer_lightning.training import PurerModule


class GalleryCallback(Callback):
    """Shows the images as they sharpen: as sheets in the run's folder ``gallery``, for the report, and in W&B.

    When training ends it writes ``pseudo_images.png`` into the run folder.

    Args:
        classes: at most this many classes, spread evenly over the bank.
        images: at most this many images a class.

    Raises:
        PurerError: one of them is below 1.
    """

    def __init__(self, classes: int = 20, images: int = 10) -> None:
        if min(classes, images) < 1:
            raise PurerError(
                f"Expected gallery.classes and gallery.images to be at least 1, but got {classes} and {images}."
            )
        self.classes = classes
        self.images = images

    @rank_zero_only
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the images as the initial inversion has left them, before the first update."""
        if trainer.global_step == 0 and has_pseudo_images(pl_module):
            self._show(trainer, pl_module)

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show them after some of the validations, see ``is_moment``."""
        if trainer.state.fn == TrainerFn.FITTING and has_pseudo_images(pl_module):
            done, each = trainer.global_step, pl_module.data.updates_per_epoch
            if done % each == 0 and is_moment(done // each):
                self._show(trainer, pl_module)

    def _show(self, trainer: Trainer, module: PurerModule) -> None:
        pictures, chosen = self._pictures(module)
        known = teachers_of(module.pool)
        rows = [Shown(module.pool.classes[position].name, known[position]) for position in chosen]
        save_sheet(pictures, rows, Path(trainer.default_root_dir), trainer.global_step)
        for run in trainer.loggers:
            if isinstance(run, WandbRun):
                names = [f"{row.name} ({row.teachers}), after {trainer.global_step} updates" for row in rows]
                run.log_gallery(pictures, names)

    def _pictures(self, module: PurerModule) -> tuple[Tensor, list[int]]:
        """Return uint8 pictures (classes, images, C, H, W), and the classes' positions in the pool."""
        known = len(module.pool.classes)
        chosen = torch.linspace(0, known - 1, min(self.classes, known)).round().long().tolist()
        images = module.synthesis.bank.images.detach()[chosen, : self.images]
        return module.pool.normalisation.undo(images.cpu()), chosen

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the picture."""
        if not has_pseudo_images(pl_module):
            return
        self._show(trainer, pl_module)
        pictures, chosen = self._pictures(pl_module)
        names = [pl_module.pool.classes[position].name for position in chosen]
        path = Path(trainer.default_root_dir) / PSEUDO_IMAGES
        title = f"after {trainer.global_step} updates"
        with replacing(path) as temporary:
            save_gallery(pictures, names, temporary, title)


def has_pseudo_images(module: LightningModule) -> TypeGuard[PurerModule]:
    """Whether there is something to show; of real images, of a ceiling, no picture is left behind."""
    return isinstance(module, PurerModule) and module.synthesis.data_free


def is_moment(validation: int) -> bool:
    """Whether a gallery is due after this validation, counted from 1: 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, ...

    Images change most at the beginning, and 300 validations of a long run would be 6,000 pictures.
    """
    while validation > 3 and validation % 2 == 0:
        validation //= 2
    return validation in (1, 2, 3)


def teachers_of(pool: Pool) -> list[str]:
    """Return for each class of the pool the names of the teachers that know it, joined by commas."""
    names: list[list[str]] = [[] for _ in pool.classes]
    for teacher in pool.teachers:
        for position in teacher.classes.tolist():
            names[position].append(teacher.record.name)
    return [", ".join(known) for known in names]
