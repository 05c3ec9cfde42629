"""The curves in a run's folder: metrics.csv, also of a run that is still going on or was killed in mid-line."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from purer_lightning.errors import PurerError
from purer_lightning.running.names import METRICS, TIMES


class Curve(NamedTuple):
    """One logged value over the meta-updates; not a number where the run logged that.

    Attributes:
        updates: ascending; 1 is the first meta-update.
        values: as many.
    """

    updates: list[int]
    values: list[float]


class Moment(NamedTuple):
    """A line of times.csv: a validation, the minutes of training up to it, and its accuracy in 0 to 1."""

    update: int
    minutes: float
    accuracy: float


def read_curves(folder: Path) -> dict[str, Curve]:
    """Read every logged value by its key, such as ``curriculum/difficulty``.

    Raises:
        PurerError: there are no curves of a training, or a line in the midst of a file is damaged.
    """
    curves: dict[str, Curve] = {}
    for row in _rows(folder / METRICS, ("step",)) if (folder / METRICS).is_file() else []:
        for key, value in row.items():
            curve = curves.setdefault(key, Curve([], []))
            curve.updates.append(int(row["step"]) + 1)
            curve.values.append(value)
    if "curriculum/difficulty" not in curves:
        raise PurerError(
            f"Expected the curves of a training in '{folder / METRICS}', but found none; a report needs a run that has "
            f"made at least one update."
        )
    return curves


def read_times(folder: Path) -> list[Moment]:
    """Read times.csv; empty where there is none, as in runs of before it existed."""
    file = folder / TIMES
    if not file.is_file():
        return []
    columns = ("update", "minutes", "val/accuracy")
    rows = [[row[column] for column in columns] for row in _rows(file, columns)]
    return [Moment(int(update), minutes, accuracy) for update, minutes, accuracy in rows]


def _rows(file: Path, never_empty: Sequence[str]) -> list[dict[str, float]]:
    """Return the whole lines of a file, without empty cells; one that is being written has no end yet."""
    text = file.read_text(encoding="utf-8", errors="replace")
    lines = text[: text.rfind("\n") + 1].splitlines()
    rows = []
    for row in csv.DictReader(lines):
        try:
            numbers = {key: float(value) for key, value in row.items() if value != ""}
            if not numbers.keys() >= set(never_empty):
                raise ValueError
            rows.append(numbers)
        except (TypeError, ValueError) as error:
            raise PurerError(
                f"Expected numbers in line {len(rows) + 2} of '{file}', but could not read it; restore the file, or "
                f"remove that line."
            ) from error
    return rows


def thinned(curve: Curve, points: int) -> Curve:
    """Return at most about ``points`` points, each the mean of equally many neighbours at the last one's update."""
    size = math.ceil(len(curve.updates) / points)
    starts = range(0, len(curve.updates), size) if size > 1 else ()
    if not starts:
        return curve
    means = [_mean(curve.values[start : start + size]) for start in starts]
    return Curve([curve.updates[min(start + size, len(curve.updates)) - 1] for start in starts], means)


def smoothed(curve: Curve, window: int) -> Curve:
    """Return the centred moving mean over ``window`` logged values (an odd number); fewer at both ends."""
    reach = window // 2
    values = [_mean(curve.values[max(0, i - reach) : i + reach + 1]) for i in range(len(curve.values))]
    return Curve(curve.updates, values)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
