"""What the files of a row say, and what two rows that were scored on the same episodes say of each other."""

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from purer_lightning.evaluation.metrics import Interval, interval
from purer_lightning.running.names import COMMIT, EPISODES, OF_FIT, RESULTS, SUMMARY
from rows import Row

PLAIN, ICFIL = "plain", "icfil"
# Results may be compared episode by episode where all of these agree.
SAME_EPISODES = ("dataset", "split", "way", "shot", "query", "seed")


class Scored(NamedTuple):
    """What one folder of results holds.

    Attributes:
        title: in tables.
        row: its declaration.
        result: results.json.
        summary: summary.json of the fit; None where nothing was trained.
        fit_commits: those of the fit's starts; a dash where they are not recorded.
        test_commit: that of the test's start; a dash where it is not recorded.
        accuracies: by method ("plain", "icfil"), then by episode, in 0 to 1.
    """

    title: str
    row: Row
    result: dict[str, Any]
    summary: dict[str, Any] | None
    fit_commits: str
    test_commit: str
    accuracies: dict[str, dict[int, float]]

    def at(self, episodes: int) -> dict[str, Any]:
        """Return the intervals of the first so many episodes by method; nothing where they were not reported."""
        return next((found for found in self.result["results"] if found["episodes"] == episodes), {})

    def of_fit(self, name: str) -> Any:
        """Return a value of the fit's summary; None where there is none."""
        return (self.summary or {}).get(name)


def read_row(results: Path, row: Row, shot: int) -> Scored | None:
    """Read one row, or return None where results.json, which is written last, is not there."""
    folder = results / row.folder(shot)
    file = folder / "test" / RESULTS
    if not file.exists():
        return None
    result = json.loads(file.read_text(encoding="utf-8"))
    fit = row.fits.get(shot)
    summary_file = results / fit.name / SUMMARY if fit else None
    summary = json.loads(summary_file.read_text()) if summary_file and summary_file.exists() else None
    with (folder / "test" / EPISODES).open(newline="") as lines:
        scores = list(csv.DictReader(lines))
    accuracies = {
        method: {int(line["episode"]): float(line[method]) for line in scores}
        for method in (PLAIN, ICFIL)
        if scores and method in scores[0]
    }
    teachers = len(result["meta_model"].get("architectures", ()))
    title = row.title.format(teachers=f" {teachers}" if teachers else "")
    fit_commits = commits(results / fit.name / f"{OF_FIT}{COMMIT}") if fit else "-"
    return Scored(title, row, result, summary, fit_commits, commits(folder / COMMIT), accuracies)


def commits(file: Path) -> str:
    """Return each commit that a file names, once; a dash where the file is not there."""
    return ", ".join(dict.fromkeys(file.read_text().split())) if file.exists() else "-"


def paired(one: Scored, other: Scored, method: str = PLAIN, other_method: str = PLAIN) -> Interval:
    """Return the interval of the difference of accuracies, in 0 to 1, episode by episode.

    Raises:
        ValueError: the two were not scored on the same episodes.
    """
    differing = [name for name in SAME_EPISODES if one.result[name] != other.result[name]]
    mine, others = one.accuracies[method], other.accuracies[other_method]
    if differing or mine.keys() != others.keys():
        raise ValueError(
            f"Expected '{one.title}' and '{other.title}' to be scored on the same episodes, but they differ in "
            f"{', '.join(differing) or 'the episode numbers of episodes.csv'}; test one of them again."
        )
    return interval(torch.tensor([mine[i] - others[i] for i in mine], dtype=torch.float64))


def verdict(difference: Interval) -> str:
    """Say what a paired interval says: "above", "below", or "not told apart from" where it holds zero."""
    if difference.mean - difference.ci95 > 0:
        return "above"
    return "below" if difference.mean + difference.ci95 < 0 else "not told apart from"


def mean(scored: Scored, method: str = PLAIN) -> float:
    """Return the mean accuracy over all episodes, in 0 to 1."""
    accuracies = scored.accuracies[method]
    return sum(accuracies.values()) / len(accuracies)
