"""Draws how fast each fit comes to its accuracy on meta-val: accuracy against the minutes of the fit, a panel a shot.

What is drawn are the lines of times.csv, which SummaryCallback writes at each validation.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from purer_lightning.files import replacing
from purer_lightning.running.names import TIMES
from rows import ROWS, SHOTS, Fit, Group

# The background is that of the page. Each colour has a contrast of at least 3 on white and on the near-black of dark
# pages (WCAG 2, 1.4.11, for graphics); text and axes have 4.
INK = "#787878"
COLOURS = ("#0077bb", "#d55e00", "#009070", "#c0609a", "#8a7a00")
STYLES = ("-", "--", ":")
DRAWN = (Group.PURER, Group.OURS)


class Curve(NamedTuple):
    """One fit's validations."""

    title: str
    minutes: list[float]
    accuracies: list[float]  # in %


def read_curve(results: Path, fit: Fit) -> Curve | None:
    """Read a fit's times.csv, or return None where there is none."""
    file = results / fit.name / TIMES
    if not file.exists():
        return None
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    minutes = [float(row["minutes"]) for row in rows]
    return Curve(fit.title, minutes, [100 * float(row["val/accuracy"]) for row in rows])


def curves(results: Path, fits: Sequence[Fit]) -> dict[int, list[Curve]]:
    """Return the curves by the shot of their validation episodes; shots without any are left out."""
    found = {shot: [read_curve(results, fit) for fit in fits if fit.shot == shot] for shot in SHOTS}
    there = {shot: [curve for curve in of_shot if curve] for shot, of_shot in found.items()}
    return {shot: of_shot for shot, of_shot in there.items() if of_shot}


def looks(panels: Iterable[Sequence[Curve]]) -> dict[str, tuple[str, str]]:
    """Return colour and line style by title, the same in every panel."""
    titles = dict.fromkeys(curve.title for of_shot in panels for curve in of_shot)
    return {
        title: (COLOURS[number % len(COLOURS)], STYLES[number // len(COLOURS) % len(STYLES)])
        for number, title in enumerate(titles)
    }


def draw_panel(axes: Axes, shot: int, of_shot: Sequence[Curve], look: Mapping[str, tuple[str, str]]) -> None:
    """Draw the curves of one shot."""
    for curve in of_shot:
        colour, style = look[curve.title]
        axes.plot(curve.minutes, curve.accuracies, style, color=colour, label=curve.title, marker="o", markersize=3)
    axes.set_title(f"{shot}-shot", color=INK)
    axes.set_xlabel("minutes of the fit", color=INK)
    axes.set_ylabel("accuracy on meta-val, %", color=INK)
    axes.set_xlim(left=0)
    axes.set_facecolor("none")
    axes.tick_params(colors=INK)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=INK, alpha=0.25, linewidth=0.5)


def draw_legend(figure: Figure) -> None:
    """Name each curve once below both panels, in which those of one title look alike."""
    handles = {str(curve.get_label()): curve for axes in figure.axes for curve in axes.get_lines()}
    look = {"ncols": 2, "frameon": False, "labelcolor": INK, "fontsize": 8}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", **look)


def drawn_fits() -> list[Fit]:
    """Return the fits of PURER and of ours, each once: more curves than these could not be told apart."""
    return list(dict.fromkeys(fit for row in ROWS if row.group in DRAWN for fit in row.fits.values()))


def draw(results: Path, picture: Path, fits: Sequence[Fit] | None = None) -> bool:
    """Write an SVG with a panel for each shot.

    Args:
        results: holds a folder for each fit.
        picture: the file.
        fits: by default those of PURER and of ours.

    Returns:
        Whether there was anything to draw; nothing is written otherwise.
    """
    panels = curves(results, drawn_fits() if fits is None else fits)
    if not panels:
        return False
    look = looks(panels.values())
    # Text stays text, and names inside the file follow from its content alone, so that equal curves make equal files.
    settings = matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "purer"})
    with settings, replacing(picture) as temporary:
        figure = Figure(figsize=(5 * len(panels), 4.6), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        for axes, (shot, of_shot) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
        ):
            draw_panel(axes, shot, of_shot, look)
        draw_legend(figure)
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
    return True
