"""A picture of images, a row a class."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor


def save_gallery(pictures: Tensor, names: Sequence[str], path: Path, title: str) -> None:
    """Write a PNG with a labelled row of pictures for each class.

    Args:
        pictures: uint8, (classes, images, C, H, W), C = 1 or 3.
        names: one a class.
        path: of the PNG; its folder exists.
        title: the moment shown, such as "after 200 updates".
    """
    classes, images = pictures.shape[:2]
    # Rows of pictures glued together: one image artist a class instead of one a picture.
    rows = pictures.permute(0, 3, 1, 4, 2).flatten(2, 3).numpy()
    figure = Figure(figsize=(1.6 + 0.55 * images, 0.4 + 0.55 * classes), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"pseudo images, {title}", fontsize=10)
    for axes, row, name in zip(figure.subplots(classes, 1, squeeze=False)[:, 0], rows, names, strict=True):
        axes.imshow(row if row.shape[-1] == 3 else row[..., 0], cmap="gray", interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    figure.savefig(path, dpi=120)
