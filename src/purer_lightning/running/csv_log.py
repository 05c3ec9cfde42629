"""CsvLog: metrics.csv of a run folder, one file however often the run is interrupted and resumed."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from purer_lightning.errors import PurerError
from purer_lightning.files import replacing, sync
from purer_lightning.running.names import METRICS

STEP = "step"


class CsvLog(Logger):
    """Logs scalars into ``metrics.csv``: a line for each call, a column for each name, in alphabetical order.

    Numbers are written so that they are read back to the bit. A line is in the file as soon as it is logged. A run
    that resumes from a checkpoint drops the lines that came after it (``cut``), so that what is computed again is not
    there twice. A log that is not cut begins the file anew.

    Args:
        folder: where metrics.csv lies; made with the first line.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = Path(folder) / METRICS
        self._lines = 0
        self._columns: list[str] = []

    @property
    def name(self) -> str:
        """Nothing: the log is in the run folder itself."""
        return ""

    @property
    def version(self) -> str:
        """Nothing: see ``name``."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Leave it: config.yaml holds the settings."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a line.

        Args:
            metrics: scalars by name.
            step: number of the update, from 0, in the column of that name; the number of earlier lines if None.
        """
        row = {**metrics, STEP: self._lines if step is None else step}
        if new := row.keys() - set(self._columns):
            earlier = self._read() if self._lines else []
            self._columns = sorted(new.union(self._columns))
            self._write(earlier)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(row)
        self._lines += 1

    @rank_zero_only
    def flush(self) -> None:
        """Wait until all lines are on the disk, as they must be before a checkpoint that comes after them is."""
        if self._lines:
            sync(self.path)

    @rank_zero_only
    def cut(self, updates: int, due: str | None = None) -> None:
        """Keep the lines of the first ``updates`` updates, with the columns that they fill, and continue after them.

        Args:
            updates: made by the run that goes on.
            due: a name whose value at the last of them will be logged anew; a line that has it goes, too.
        """
        rows = [row for row in self._read() if int(row[STEP]) < updates] if self.path.exists() else []
        rows = [row for row in rows if not (due and row.get(due) and int(row[STEP]) == updates - 1)]
        if updates and not rows:
            rank_zero_warn(
                f"'{self.path}' has no line of the {updates} updates that the checkpoint's run has made; the curves "
                "begin after them."
            )
        self._lines = len(rows)
        self._columns = sorted({name for row in rows for name, value in row.items() if value})
        if rows:
            self._write(rows)

    def _read(self) -> list[dict[str, str]]:
        """Return the whole lines; a killed process may have left part of one at the end."""
        if not self.path.is_file():  # reading a pipe would never end
            raise PurerError(f"Expected '{self.path}' to be a file, but it is a folder, a pipe or a device; remove it.")
        text = self.path.read_bytes().decode("utf-8")
        return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))

    def _write(self, rows: list[dict[str, str]]) -> None:
        """Write the file anew; a column more is rare, so this costs little."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
