"""Pictures in a page: the gallery over time, and pixels as an address that holds the picture itself."""

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from purer_lightning.errors import PurerError
from purer_lightning.report.markup import Html, join, section, tag
from purer_lightning.report.runs import Run
from purer_lightning.running.names import PSEUDO_IMAGES
from purer_lightning.running.sheets import Sheets, read_sheets

MOMENTS, COLUMNS = 12, 8  # of the gallery: what fits into a page of a few megabytes, and across a phone
QUALITY = 85  # of WebP, 0 to 100: a third of PNG's bytes, and no difference that the eye finds in such pictures


def address(pixels: np.ndarray) -> str:
    """Return a ``data:`` address of uint8 pixels, (height, width) or (height, width, 3)."""
    written = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(written, format="webp", quality=QUALITY, method=6)
    return f"data:image/webp;base64,{base64.b64encode(written.getvalue()).decode()}"


def galleries(runs: Sequence[Run]) -> Html:
    """Return the section of what was inverted from the pool, class by class, with a slider over the updates.

    Raises:
        PurerError: a picture in a run's folder is damaged.
    """
    parts = [_gallery(run, position, len(runs) > 1) for position, run in enumerate(runs)]
    return section("gallery", "Pseudo images", *parts)


def _gallery(run: Run, position: int, named: bool) -> Html:
    title = tag("h3", run.name) if named else ""
    sheets, last = read_sheets(run.folder, MOMENTS), run.folder / PSEUDO_IMAGES
    if sheets:
        return join([title, _slides(position, sheets)])
    if last.is_file():
        alternative = "Pseudo images when training ended, a row a class, its name at the left"
        picture = tag("img", src=_whole(last), alt=alternative, class_="sheet")
        return join([title, tag("p", "When training ended; this run has kept no earlier pictures."), picture])
    return join([title, tag("p", f"{run.name} has left no pictures of its images.")])


def _slides(position: int, sheets: Sheets) -> Html:
    height, width = sheets.size
    frames = [address(_sheet(pictures[:, :COLUMNS])) for pictures in sheets.pictures.values()]
    columns = min(COLUMNS, next(iter(sheets.pictures.values())).shape[1])
    style = "".join(f"--frame-{number}:url({frame});" for number, frame in enumerate(frames))
    last = len(frames) - 1
    updates = list(sheets.pictures)
    classes = [
        tag(
            "li",
            tag("span", tag("b", row.name), " ", tag("small", row.teachers), class_="names"),
            tag("div", class_="strip", role="img", aria_label=f"{columns} pictures of {row.name}", style=f"--row:{at}"),
        )
        for at, row in enumerate(sheets.rows)
    ]
    controls = _slider(position, updates)
    ratio = f"--columns:{columns};--ratio:{height / width};--sheet:var(--frame-{last});"
    note = (
        "Images of each class, beside the teachers that they were inverted from. Move the slider to see them sharpen."
    )
    return tag("div", tag("p", note), controls, tag("ul", *classes), class_="gallery", style=ratio + style)


def _slider(position: int, updates: Sequence[int]) -> Html:
    """Return what chooses the moment shown; the last one at first."""
    identity, last = f"moment-{position}", len(updates) - 1
    moments = " ".join(map(str, updates))
    slider = tag("input", type="range", id=identity, min=0, max=last, value=last, data_updates=moments)
    label = tag("label", "after ", tag("output", f"{updates[-1]:,}", for_=identity), " updates", for_=identity)
    return tag("div", label, slider, class_="moment")


def _sheet(pictures: np.ndarray) -> np.ndarray:
    """Glue (rows, columns, height, width[, 3]) into one picture without gaps."""
    rows, columns, height, width = pictures.shape[:4]
    return pictures.swapaxes(1, 2).reshape(rows * height, columns * width, *pictures.shape[4:])


def _whole(file: Path) -> str:
    try:
        with Image.open(file) as picture:
            return address(np.asarray(picture.convert("RGB")))
    except OSError as error:
        raise PurerError(f"'{file}' cannot be read as a picture ({error}); remove it, or restore it.") from error
