"""Writes the results table of experiments/README.md from the files in experiments/results, never by hand.

.venv/bin/python experiments/table.py
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
BEGIN, END = "<!-- table: made by experiments/table.py -->", "<!-- end of table -->"

# Folder's name without the shot, and what the row is called.
ROWS = {
    "random": "random start, fine-tuned",
    "average": "average of the teachers, fine-tuned",
    "teacher_centroid": "best teacher's features + nearest centroid",
    "pool_logits_centroid": "all 13 teachers' logits + nearest centroid",
    "ei": "EI + MAML, 600 updates",
    "eci": "ECI + MAML (PURER), 600 updates",
}
COLUMNS = (
    "| row | shot | transductive | 600 episodes | 2,000 episodes | + ICFIL, 2,000 | ICFIL - plain, paired "
    "| minutes | GiB | commit |"
)


def percent(interval: dict[str, float] | None) -> str:
    """Format a mean with its 95 % interval; a dash where there is none."""
    return f"{100 * interval['mean']:.2f} ± {100 * interval['ci95']:.2f}" if interval else "-"


def row(name: str, title: str, shot: int) -> str | None:
    """Format one line of the table, or None where the run is not there."""
    folder = RESULTS / f"{name}_{shot}shot"
    file = folder / "test" / "results.json"
    if not file.exists():
        return None
    result: dict[str, Any] = json.loads(file.read_text())
    by_count = {r["episodes"]: r for r in result["results"]}
    short, long = by_count.get(600, {}), by_count.get(2000, {})
    summary = folder / "summary.json"
    took = json.loads(summary.read_text()) if summary.exists() else None
    cells = [
        title,
        str(shot),
        "yes" if result["transductive"] else "no",
        percent(short.get("plain")),
        percent(long.get("plain")),
        percent(long.get("icfil")),
        percent(long.get("icfil_minus_plain")),
        f"{took['minutes']:.0f}" if took else "-",
        f"{took['peak_memory_gib']:.1f}" if took else "-",
        (folder / "commit.txt").read_text().strip(),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Replace what stands between the two marks of README.md."""
    lines = [row(name, title, shot) for shot in (1, 5) for name, title in ROWS.items()]
    rule = "|---" * (COLUMNS.count("|") - 1) + "|"
    table = "\n".join([COLUMNS, rule, *filter(None, lines)])
    readme = HERE / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}")
    print(table)


if __name__ == "__main__":
    main()
