"""Results in and around a run's folder: its own, and those of baselines that were scored on the same episodes."""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from purer_lightning.errors import PurerError
from purer_lightning.evaluation.metrics import Interval, interval
from purer_lightning.report.runs import Run, located, read_json
from purer_lightning.running.names import EPISODES, RESULTS

PLAIN, ICFIL = "plain", "icfil"
STAGES = ("test", "validate")


class Task(NamedTuple):
    """What two results have to agree in to be of the same episodes."""

    dataset: str
    split: str
    way: int
    shot: int
    query: int
    seed: int


class Result(NamedTuple):
    """One results.json with its episodes.

    Attributes:
        name: the run's, or that of the folder.
        folder: where it lies.
        said: results.json.
        accuracies: by method ("plain", perhaps "icfil"), then by episode id, in 0 to 1.
        run: position of the run that it is a result of, among those of the report; None for a baseline.
    """

    name: str
    folder: Path
    said: Mapping[str, Any]
    accuracies: Mapping[str, Mapping[int, float]]
    run: int | None

    @property
    def task(self) -> Task:
        """Whose episodes these are."""
        return Task(*(self.said[field] for field in Task._fields))

    def interval(self, method: str) -> Interval:
        """Return the mean over all episodes with its 95 % interval."""
        return interval(torch.tensor(list(self.accuracies[method].values()), dtype=torch.float64))


class Row(NamedTuple):
    """A result under one method, a line of the report's table."""

    result: Result
    method: str

    @property
    def title(self) -> str:
        """The result's name, and whether ICFIL is on."""
        return self.result.name + (" + ICFIL" if self.method == ICFIL else "")


def find_results(runs: list[Run]) -> list[Result]:
    """Return the results of the runs, in their order, then the baselines of the same tasks.

    Looked at are ``test`` and ``validate`` in a run's folder, in the folders in it, and in those beside it. A result of
    these is a run's where it was scored with one of the run's checkpoints, and a baseline where it was scored without
    any. Checkpoints of runs that the report is not about are left out, and so is what is none of our results beside a
    run, where anybody's folders may be.

    Raises:
        PurerError: a file of a result is damaged.
    """
    found = {folder.resolve(): _read(folder, runs) for folder in _candidates(runs)}
    results = [result for result in found.values() if result is not None]
    own = [result for result in results if result.run is not None]
    tasks = {result.task for result in own} | {_task(run) for run in runs}
    baselines = [result for result in results if result.run is None and result.task in tasks]
    return sorted(own, key=lambda result: result.run or 0) + baselines


def by_task(results: Iterable[Result]) -> dict[Task, list[Row]]:
    """Return the rows of each task: without ICFIL, then with it; the final test before meta-val."""
    tasks: dict[Task, list[Row]] = {}
    for result in results:
        tasks.setdefault(result.task, []).extend(Row(result, method) for method in result.accuracies)
    return dict(sorted(tasks.items(), key=lambda item: (item[0].split, item[0].shot)))


def paired(one: Row, other: Row) -> Interval | None:
    """Return the interval of the difference one - other, episode by episode; None where their episodes differ."""
    mine, others = one.result.accuracies[one.method], other.result.accuracies[other.method]
    shared = mine.keys() & others.keys()
    if one.result.task != other.result.task or len(shared) < 2:
        return None
    return interval(torch.tensor([mine[i] - others[i] for i in sorted(shared)], dtype=torch.float64))


def _task(run: Run) -> Task:
    of_data = {"dataset": "", "way": 5, "shot": 1, "query": 15}
    said = {name: run.setting(f"data.{name}", default) for name, default in of_data.items()}
    return Task(**said, split="test", seed=run.setting("seed_everything", 0))


def _candidates(runs: list[Run]) -> Iterator[Path]:
    for run in runs:
        for folder in (run.folder, *_folders(run.folder), *_folders(run.folder.resolve().parent)):
            yield from (folder / stage for stage in STAGES if (folder / stage / RESULTS).is_file())


def _folders(folder: Path) -> list[Path]:
    """Return the folders in it that may be looked into; beside a run there may be anybody's."""
    children = sorted(folder.iterdir()) if _open(folder) else []
    return [child for child in children if child.is_dir() and _open(child)]


def _open(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)


def _read(folder: Path, runs: list[Run]) -> Result | None:
    """Read one folder of results; None where it is none of ours, or of a run that the report is not about."""
    file, inside = folder / RESULTS, _lies_in_one(folder, runs)
    try:
        said = read_json(file)
    except PurerError:
        if inside:
            raise
        return None
    run = _owner(folder, said.get("checkpoint"), runs)
    if run is None and said.get("checkpoint"):
        return None
    own = run is not None and folder.parent.resolve() == runs[run].folder.resolve()
    name = runs[run].name if own and run is not None else folder.parent.resolve().name
    result = Result(name, folder, said, {}, run)
    try:
        hash(result.task)
    except (KeyError, TypeError) as error:
        if not inside:
            return None
        raise PurerError(f"'{file}' does not say {error} of its episodes; restore it, or remove its folder.") from error
    return result._replace(accuracies=_accuracies(folder))


def _lies_in_one(folder: Path, runs: list[Run]) -> bool:
    return any(folder.resolve().is_relative_to(run.folder.resolve()) for run in runs)


def _owner(folder: Path, checkpoint: str | None, runs: list[Run]) -> int | None:
    """Return the run in whose folder a result lies, which may be a copy; else the one whose checkpoint was scored."""
    holders = [position for position, run in enumerate(runs) if folder.parent.resolve() == run.folder.resolve()]
    if holders or not checkpoint:
        return holders[0] if holders else None
    trained = Path(checkpoint).parent.parent
    for position, run in enumerate(runs):
        there = located(str(trained), folder)
        if there == run.folder.resolve() or (there is None and trained.name == run.folder.resolve().name):
            return position
    return None


def _accuracies(folder: Path) -> dict[str, dict[int, float]]:
    file = folder / EPISODES
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        methods = [method for method in (PLAIN, ICFIL) if method in rows[0]]
        return {method: {int(row["episode"]): float(row[method]) for row in rows} for method in methods}
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise PurerError(
            f"Expected an accuracy for each episode in '{file}', but could not read it ({error}); restore it, or "
            f"remove the folder '{folder}'."
        ) from error
