"""Pictures of the image bank, a row a class: one to look at, and sheets without letters from which pages are made."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from purer_lightning.errors import PurerError
from purer_lightning.files import replacing

SHEETS = "gallery"  # the folder of the sheets within a run's
INDEX = "gallery.json"


@dataclass(frozen=True)
class Shown:
    """What is in a row of a sheet.

    Attributes:
        name: of the class.
        teachers: names of those that know it, joined by commas.
    """

    name: str
    teachers: str


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
    figure.savefig(path, dpi=120, format="png")


def save_sheet(pictures: Tensor, rows: Sequence[Shown], run: Path, update: int) -> None:
    """Write ``gallery/update_<update>.png``, a row of pictures a class without gaps, and ``gallery/gallery.json``.

    Args:
        pictures: uint8, (classes, images, C, H, W), C = 1 or 3.
        rows: what is in each row.
        run: the run's folder.
        update: the moment shown; a picture of it that is there is replaced.
    """
    classes, images, channels, height, width = pictures.shape
    glued = pictures.permute(0, 3, 1, 4, 2).reshape(classes * height, images * width, channels).numpy()
    folder = run / SHEETS
    folder.mkdir(exist_ok=True)
    with replacing(folder / f"update_{update:06d}.png") as temporary:
        Image.fromarray(glued if channels == 3 else glued[..., 0]).save(temporary, format="png")
    index = {"columns": images, "height": height, "width": width, "rows": [asdict(row) for row in rows]}
    with replacing(folder / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Sheets:
    """The sheets of a run.

    Attributes:
        rows: what is in each row, from the top.
        size: height and width of one picture.
        pictures: uint8, (rows, columns, height, width[, 3]), by update, ascending.
    """

    rows: list[Shown]
    size: tuple[int, int]
    pictures: dict[int, np.ndarray]


def read_sheets(run: Path, moments: int) -> Sheets | None:
    """Read at most ``moments`` sheets, spread evenly, the first and the last among them; None where there are none.

    Raises:
        PurerError: a file is damaged, or not of the size that ``gallery.json`` says.
    """
    folder = run / SHEETS
    files = {int(file.stem.removeprefix("update_")): file for file in folder.glob("update_*[0-9].png")}
    if not files or not (folder / INDEX).is_file():
        return None
    updates = sorted(files)
    chosen = {updates[round(at)] for at in np.linspace(0, len(updates) - 1, min(moments, len(updates)))}
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        rows = [Shown(**row) for row in index["rows"]]
        shape = (len(rows), index["height"], index["columns"], index["width"])
        sheets = {update: np.asarray(Image.open(files[update])) for update in sorted(chosen)}
        pictures = {update: sheet.reshape(*shape, *sheet.shape[2:]).swapaxes(1, 2) for update, sheet in sheets.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PurerError(
            f"Expected sheets of pictures in '{folder}', but one is damaged ({error}); remove it."
        ) from error
    return Sheets(rows, (index["height"], index["width"]), pictures)
