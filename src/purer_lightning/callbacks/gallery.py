"""GalleryCallback: the bank as a picture at the end of training."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from purer_lightning.files import replacing
from purer_lightning.report.gallery import save_gallery
from purer_lightning.training import PurerModule


class GalleryCallback(Callback):
    """Writes ``pseudo_images.png`` into the run folder when training ends.

    Args:
        classes: at most this many classes, spread evenly over the bank.
        images: at most this many images a class.
    """

    def __init__(self, classes: int = 20, images: int = 10) -> None:
        self.classes = classes
        self.images = images

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the picture."""
        if not isinstance(pl_module, PurerModule) or not pl_module.bank.images.requires_grad:
            return  # real images, of a ceiling: no picture of them is left behind
        names = [known.name for known in pl_module.pool.classes]
        chosen = torch.linspace(0, len(names) - 1, min(self.classes, len(names))).round().long().tolist()
        pictures = pl_module.pool.normalisation.undo(pl_module.bank.images.detach().cpu()[chosen, : self.images])
        path = Path(trainer.default_root_dir) / "pseudo_images.png"
        title = f"after {trainer.global_step} updates"
        with replacing(path) as temporary, TemporaryDirectory(prefix=".", dir=path.parent) as folder:
            picture = Path(folder) / path.name  # matplotlib takes the format from the suffix; ``temporary`` has another
            save_gallery(pictures, [names[position] for position in chosen], picture, title)
            picture.replace(temporary)
