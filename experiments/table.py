"""Writes what stands between the marks of experiments/README.md from the files in experiments/results, never by hand.

.venv/bin/python experiments/table.py
"""

import csv
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from purer_lightning.files import replacing
from purer_lightning.metrics import Interval, interval

HERE = Path(__file__).parent
BEGIN, END = "<!-- table: made by experiments/table.py -->", "<!-- end of table -->"
SHOTS = (1, 5)
# Folder's name without the shot, and what the row is called; a number that is not known is left out.
ROWS = {
    "random": "random start, fine-tuned",
    "average": "average of the teachers, fine-tuned",
    "teacher_centroid": "best teacher's features + nearest centroid",
    "pool_logits_centroid": "all{teachers} teachers' logits + nearest centroid",
    "ei": "EI + MAML{updates}",
    "eci": "ECI + MAML (PURER){updates}",
}
META_MODEL, NO_CURRICULUM = "eci", "ei"
TRAINING_FREE = ("random", "average", "teacher_centroid", "pool_logits_centroid")
COLUMNS = (
    "| row | shot | transductive | 600 episodes | + ICFIL, 600 | 2,000 episodes | + ICFIL, 2,000 "
    "| ICFIL - plain, paired, 2,000 | minutes | GiB | commit |"
)
# Results may be compared episode by episode where all of these agree.
SAME_EPISODES = ("dataset", "split", "way", "shot", "query", "seed")


class Row(NamedTuple):
    """What one folder of results holds."""

    title: str
    result: dict[str, Any]  # results.json
    summary: dict[str, Any] | None  # summary.json of the fit; None where nothing was trained
    commit: str
    plain: dict[int, float]  # accuracy in 0 to 1 by episode, without ICFIL


def read_row(results: Path, name: str, shot: int) -> Row | None:
    """Read one row, or return None where results.json, which is written last, is not there."""
    folder = results / f"{name}_{shot}shot"
    file = folder / "test" / "results.json"
    if not file.exists():
        return None
    summary_file = folder / "summary.json"
    summary = json.loads(summary_file.read_text()) if summary_file.exists() else None
    updates = f", {summary['updates']:,} updates" if summary else ""
    with (folder / "test" / "episodes.csv").open(newline="") as lines:
        plain = {int(line["episode"]): float(line["plain"]) for line in csv.DictReader(lines)}
    title = ROWS[name].format(updates=updates, teachers=teachers(folder / "test" / "config.yaml"))
    return Row(title, json.loads(file.read_text()), summary, commit(folder), plain)


def teachers(config: Path) -> str:
    """Return " N" for the pool of N teachers that a test's configuration names, or nothing where it is not there."""
    named = re.search(r"^ *pool: (\S+)$", config.read_text(), re.MULTILINE) if config.exists() else None
    manifest = HERE.parent / named[1] / "pool.json" if named else None
    if manifest is None or not manifest.exists():
        return ""
    return f" {len(json.loads(manifest.read_text())['teachers'])}"


def commit(folder: Path) -> str:
    """Return the commits of the fit's starts where they are recorded, that of the test otherwise."""
    for name, of in (("fit_commit.txt", "fit"), ("commit.txt", "test")):
        if (folder / name).exists():
            distinct = dict.fromkeys((folder / name).read_text().split())
            return f"{', '.join(distinct)} ({of})"
    return "-"


def percent(found: dict[str, float] | None) -> str:
    """Format a mean with its 95 % interval; a dash where there is none."""
    return f"{100 * found['mean']:.2f} ± {100 * found['ci95']:.2f}" if found else "-"


def line_of(row: Row) -> str:
    """Format one line of the table of accuracies."""
    by_count = {found["episodes"]: found for found in row.result["results"]}
    short, long = by_count.get(600, {}), by_count.get(2000, {})
    cells = [
        row.title,
        str(row.result["shot"]),
        "yes" if row.result["transductive"] else "no",
        percent(short.get("plain")),
        percent(short.get("icfil")),
        percent(long.get("plain")),
        percent(long.get("icfil")),
        percent(long.get("icfil_minus_plain")),
        f"{row.summary['minutes']:.0f}" if row.summary else "-",
        f"{row.summary['peak_memory_gib']:.1f}" if row.summary else "-",
        row.commit,
    ]
    return f"| {' | '.join(cells)} |"


def paired(one: Row, other: Row) -> Interval:
    """Return the interval of the difference of accuracies, in 0 to 1, episode by episode.

    Raises:
        ValueError: the two were not scored on the same episodes.
    """
    differing = [name for name in SAME_EPISODES if one.result[name] != other.result[name]]
    # A shorter run is the first part of the same list: the difference is then that of the common episodes.
    shared = one.plain.keys() & other.plain.keys()
    if differing or len(shared) < min(len(one.plain), len(other.plain)):
        raise ValueError(
            f"Expected '{one.title}' and '{other.title}' to be scored on the same episodes, but they differ in "
            f"{', '.join(differing) or 'the episode numbers of episodes.csv'}; test one of them again."
        )
    return interval(torch.tensor([one.plain[i] - other.plain[i] for i in sorted(shared)], dtype=torch.float64))


def verdict(difference: Interval) -> str:
    """Say what a paired interval says: "above", "below", or "not told apart from" where it holds zero."""
    if difference.mean - difference.ci95 > 0:
        return "above"
    return "below" if difference.mean + difference.ci95 < 0 else "not told apart from"


def differences(rows: dict[str, Row]) -> dict[str, Interval]:
    """Return the meta-model's paired difference from every other row of the same shots that is there."""
    others = [name for name in (NO_CURRICULUM, *TRAINING_FREE) if name in rows and META_MODEL in rows]
    return {name: paired(rows[META_MODEL], rows[name]) for name in others}


def sentence(shot: int, rows: dict[str, Row], found: dict[str, Interval]) -> str:
    """Say of each training-free baseline whether the meta-model is above it, below it, or not told apart from it."""
    said = []
    for word in ("above", "not told apart from", "below"):
        titles = [f"'{rows[name].title}'" for name in TRAINING_FREE if name in found and verdict(found[name]) == word]
        if titles:
            said.append(f"{word} {', '.join(titles)}")
    if not said:
        return f"{shot}-shot: there is no training-free baseline to compare with yet."
    return f"{shot}-shot: '{rows[META_MODEL].title}', without ICFIL, is {'; '.join(said)}."


def machine(rows: list[Row]) -> str:
    """Name the machines of the fits, by what their summaries say."""
    fits = [row.summary for row in rows if row.summary]
    said = [f"{s['cores']} cores, {s['threads']} threads a fit, {s['machine']}, torch {s['torch']}" for s in fits]
    return f"Machine of the fits: {'; or '.join(dict.fromkeys(said)) or 'none yet'}."


def report(results: Path) -> str:
    """Return both tables, the machine and the sentences, of what is there in a folder of results."""
    by_shot = {shot: {name: row for name in ROWS if (row := read_row(results, name, shot))} for shot in SHOTS}
    every = [row for rows in by_shot.values() for row in rows.values()]
    found = {shot: differences(rows) for shot, rows in by_shot.items()}
    compared = [
        f"| {rows[META_MODEL].title} - {rows[name].title} | {shot} | {difference.episodes:,} "
        f"| {percent(difference._asdict())} |"
        for shot, rows in by_shot.items()
        for name, difference in found[shot].items()
    ]
    parts = [
        "\n".join([COLUMNS, "|---" * (COLUMNS.count("|") - 1) + "|", *map(line_of, every)]),
        machine(every),
        "Paired differences on the same episodes, all without ICFIL:",
        "\n".join(["| difference | shot | episodes | mean |", "|---|---|---|---|", *compared]),
        "By these intervals:",
        "\n".join(f"- {sentence(shot, rows, found[shot])}" for shot, rows in by_shot.items()),
    ]
    return "\n\n".join(parts)


def main() -> None:
    """Replace what stands between the two marks of README.md."""
    made = report(HERE / "results")
    readme = HERE / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    with replacing(readme) as file:
        file.write_text(f"{before}{BEGIN}\n{made}\n{END}{rest.split(END)[1]}")
    print(made)


if __name__ == "__main__":
    main()
