"""Draws the pages' pictures, from the run folder of ``purer demo`` (Glyphs alone): python docs/pictures.py RUN.

They are committed, so that building the pages takes no training.
"""

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from purer_lightning.data.splits import open_split
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.pool.teachers import load_pool
from purer_lightning.running.names import METRICS, TIMES
from purer_lightning.running.sheets import read_sheets

PICTURES = Path(__file__).parent / "pictures"
CLASSES = 6  # rows of the gallery
INK, FAINT, HIGH, WARM = "#5c6bc0", "#9e9e9e", "#26a69a", "#ef6c00"  # readable on white and on the dark theme
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "purer",  # the same file from the same run
    "text.color": FAINT,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "font.size": 9,
}


def sharpening(run: Path) -> None:
    """Draw a real character of some classes, then the pseudo image of the class from noise to the end of the run."""
    sheets, pool = read_sheets(run, moments=5), load_pool(run / "pool")
    if sheets is None:
        sys.exit(f"'{run}' has no gallery: give the run folder of `purer demo`.")
    split = open_split(run / "data", "glyphs", "train")
    named = {known.name: known for known in pool.classes}
    rows = np.linspace(0, len(sheets.rows) - 1, CLASSES).round().astype(int)
    figure = Figure(figsize=(7.2, 0.95 * CLASSES), layout="constrained")
    grid = figure.subplots(CLASSES, 2 + len(sheets.pictures))
    for line, row in zip(grid, rows, strict=True):
        shown = sheets.rows[row]
        known = named[shown.name]
        real = split.of_class(split.class_names.index(shown.name))[0]
        # The first image of a class depends on its name and the seed alone.
        noise = ImageBank.drawn([f"{known.dataset}/{known.id}"], 1, pool.channels, pool.image_size, seed=0)
        pictures = [real.numpy()[0], pool.normalisation.undo(noise.images.detach())[0, 0].numpy()[0]]
        pictures += [moment[row, 0] for moment in sheets.pictures.values()]
        for axes, picture in zip(line, pictures, strict=True):
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_axis_off()
    titles = ["real", "noise", *(f"update {update}" for update in sheets.pictures)]
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, color=FAINT)
    figure.savefig(PICTURES / "sharpening.png", dpi=110, transparent=True)


def difficulty(run: Path) -> None:
    """Draw difficulty, the switch's firings and the accuracy on meta-val over the meta-update."""
    with (run / METRICS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    updates = [row for row in rows if row["curriculum/difficulty"]]
    step = [float(row["curriculum/step"]) for row in updates]
    fired = [float(row["curriculum/step"]) for row in updates if float(row["curriculum/switch"]) > 0]
    with (run / TIMES).open(newline="") as file:
        validations = list(csv.DictReader(file))
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    axes = figure.subplots()
    for number, update in enumerate(fired):
        axes.axvline(update, color=WARM, lw=0.8, alpha=0.7, label="" if number else "the switch has fired")
    axes.plot(step, [float(row["curriculum/difficulty"]) for row in updates], color=INK, label="difficulty")
    axes.set_xlabel("meta-update")
    axes.set_ylabel("difficulty")
    right = axes.twinx()
    right.plot(
        [float(row["update"]) for row in validations],
        [float(row["val/accuracy"]) for row in validations],
        color=HIGH,
        marker="o",
        label="accuracy on meta-val",
    )
    right.set_ylabel("accuracy")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(PICTURES / "difficulty.svg", transparent=True, metadata={"Date": None})


BOXES = {
    "pool": (0.09, 0.72, "pool of\nfrozen teachers"),
    "bank": (0.42, 0.72, "image bank D"),
    "episodes": (0.73, 0.72, "pseudo episodes\nS, Q"),
    "model": (0.73, 0.22, "meta-model: adapt to S,\nlearn from Q"),
    "switch": (0.36, 0.22, "gradient switch I"),
}
ARROWS = [
    ("pool", "bank", "inversion loss", INK),
    ("bank", "episodes", "draw classes", INK),
    ("episodes", "model", "", INK),
    ("model", "switch", "accuracy", WARM),
    ("switch", "bank", "- λ I × outer loss", WARM),
]


def flow() -> None:
    """Draw what flows where in a meta-update; the one arrow back is the curriculum's."""
    figure = Figure(figsize=(7.2, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(0, 0.9)
    axes.set_ylim(0, 1)
    box = {"boxstyle": "round,pad=0.5", "fc": "none", "ec": FAINT}
    placed: dict[str, Any] = {
        name: axes.text(x, y, text, ha="center", va="center", bbox=box) for name, (x, y, text) in BOXES.items()
    }
    for start, end, label, colour in ARROWS:
        _arrow(axes, placed[start], placed[end], label, colour)
    figure.savefig(PICTURES / "flow.svg", transparent=True, metadata={"Date": None})


def _arrow(axes: Axes, start: Any, end: Any, label: str, colour: str) -> None:
    (x0, y0), (x1, y1) = start.get_position(), end.get_position()
    style = {"arrowstyle": "-|>", "color": colour, "patchA": start.get_bbox_patch(), "patchB": end.get_bbox_patch()}
    axes.annotate("", (x1, y1), (x0, y0), arrowprops=style | {"shrinkA": 2, "shrinkB": 2})
    level = y0 == y1
    axes.text((x0 + x1) / 2 + (0 if level else 0.02), (y0 + y1) / 2 + (0.07 if level else 0), label, color=colour,
              ha="center" if level else "left", va="center", fontsize=8)  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/pictures.py RUN, with the run folder of `purer demo`")
    with rc_context(STYLE):
        flow()
        difficulty(Path(sys.argv[1]))
        sharpening(Path(sys.argv[1]))
