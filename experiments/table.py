"""Writes what stands between the marks of experiments/README.md from the files in experiments/results, never by hand.

.venv/bin/python experiments/table.py
"""

from collections.abc import Callable
from pathlib import Path

from comparisons import comparisons
from curves import draw
from formatting import count, markdown, percent
from purer_lightning.files import replacing
from rows import EPISODES, ROWS, SHOTS, Group, Row
from scored import ICFIL, PLAIN, Scored, read_row
from seeds import seeds_table

HERE = Path(__file__).parent
BEGIN, END = "<!-- table: made by experiments/table.py -->", "<!-- end of table -->"
PICTURE = "time_to_accuracy.svg"
FEWER = 600  # episodes of the second table
MAIN = ["method", "data-free", "transductive"]
MAIN += [f"{shot}-shot{icfil}" for shot in SHOTS for icfil in ("", " + ICFIL")]
MAIN += ["parameters", "multiply-accumulates a query", "updates", "minutes"]
DETAILS = ["method", "shot", f"{FEWER} episodes", f"+ ICFIL, {FEWER}", "ICFIL - plain, paired"]
DETAILS += ["GiB", "commit of the fit", "commit of the test"]

Rows = dict[int, dict[str, Scored]]  # by shot, then by the row's name


def each_shot(row: Row, rows: Rows, value: Callable[[Scored], str]) -> str:
    """Return a value of each shot's result, once where they agree: "14 / 19", or "600"."""
    found = dict.fromkeys(value(rows[shot][row.name]) for shot in SHOTS if row.name in rows[shot])
    return " / ".join(found)


def accuracy_line(row: Row, rows: Rows, episodes: int) -> list[str]:
    """Return a line of the main table."""
    accuracies = [
        percent(rows[shot][row.name].at(episodes).get(method)) if row.name in rows[shot] else "-"
        for shot in SHOTS
        for method in (PLAIN, ICFIL)
    ]
    return [
        next(rows[shot][row.name].title for shot in SHOTS if row.name in rows[shot]),
        "no" if row.group == Group.CEILING else "yes",
        each_shot(row, rows, lambda scored: "yes" if scored.result["transductive"] else "no"),
        *accuracies,
        each_shot(row, rows, lambda scored: count(scored.result["meta_model"].get("parameters"))),
        each_shot(row, rows, lambda scored: count(scored.result["meta_model"].get("macs_per_query"))),
        each_shot(row, rows, lambda scored: count(scored.of_fit("updates"))),
        each_shot(row, rows, lambda scored: count(scored.of_fit("minutes"))),
    ]


def accuracy_table(rows: Rows, episodes: int) -> str:
    """Return the main table: methods by group, with both shots side by side."""
    lines: list[list[str]] = []
    for group in Group:
        there = [row for row in ROWS if row.group == group and any(row.name in rows[shot] for shot in SHOTS)]
        if there:
            lines.append([f"**{group}**", *[""] * (len(MAIN) - 1)])
            lines += [accuracy_line(row, rows, episodes) for row in there]
    return markdown(MAIN, lines)


def details_line(shot: int, scored: Scored, episodes: int) -> list[str]:
    """Return a line of the second table."""
    fewer = scored.at(FEWER)
    memory = scored.of_fit("peak_memory_gib")
    return [
        scored.title,
        str(shot),
        percent(fewer.get(PLAIN)),
        percent(fewer.get(ICFIL)),
        percent(scored.at(episodes).get("icfil_minus_plain")),
        "-" if memory is None else f"{memory:.1f}",
        scored.fit_commits,
        scored.test_commit,
    ]


def details_table(rows: Rows, episodes: int) -> str:
    """Return the second table: fewer episodes, what ICFIL adds, memory and commits."""
    return markdown(DETAILS, [details_line(shot, found, episodes) for shot in SHOTS for found in rows[shot].values()])


def machine(rows: Rows) -> str:
    """Name the machines of the fits, by what their summaries say."""
    fits = [scored.summary for found in rows.values() for scored in found.values() if scored.summary]
    said = [f"{s['cores']} cores, {s['threads']} threads a fit, {s['machine']}, torch {s['torch']}" for s in fits]
    return f"Machine of the fits: {'; or '.join(dict.fromkeys(said)) or 'none yet'}."


def report(results: Path, episodes: int = EPISODES, picture: str | None = None) -> str:
    """Return all tables and sentences of what is there in a folder of results.

    Args:
        results: holds a folder for each row and shot, and one for each fit.
        episodes: how many each row is to have; rows of fewer are not compared with others.
        picture: file name of the curves; None where there are none.

    Raises:
        ValueError: rows of so many episodes were scored on different ones.
    """
    rows = {shot: {row.name: found for row in ROWS if (found := read_row(results, row, shot))} for shot in SHOTS}
    curves = (
        f"![accuracy on meta-val against the minutes of the fit]({picture})" if picture else "No fit has recorded it."
    )
    return "\n\n".join(
        [
            f"### Accuracy in %, {episodes:,} episodes",
            accuracy_table(rows, episodes),
            *comparisons(rows, episodes),
            "### Over training seeds",
            seeds_table(results) or "No row has been repeated with another seed.",
            "### Accuracy on meta-val against the minutes of the fit",
            curves,
            f"### On the first {FEWER} episodes; what ICFIL adds; memory and commits",
            details_table(rows, episodes),
            machine(rows),
        ]
    )


def main() -> None:
    """Draw the curves and replace what stands between the two marks of README.md."""
    picture = PICTURE if draw(HERE / "results", HERE / PICTURE) else None
    made = report(HERE / "results", picture=picture)
    readme = HERE / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    with replacing(readme) as file:
        file.write_text(f"{before}{BEGIN}\n{made}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    print(made)


if __name__ == "__main__":
    main()
