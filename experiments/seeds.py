"""What other training seeds came to, on the same episodes."""

import statistics
from collections.abc import Iterator
from pathlib import Path

from formatting import markdown, percent
from rows import ECI, EI, REPEATS, ROWS, SEEDS, SHOTS, Row
from scored import Scored, mean, paired, read_row

HEADER = ["method", "shot", *[f"seed {seed}" for seed in (0, *SEEDS)], "mean", "standard deviation"]


def seeds_table(results: Path) -> str:
    """Return the table of the rows that were repeated, and of what the curriculum adds with each seed; "" without any.

    Args:
        results: holds a folder for each row and shot.

    Raises:
        ValueError: two results that belong together were scored on different episodes.
    """
    repeated = [row for row in ROWS if any(name == row.name for name, _ in REPEATS)]
    found = {(row.name, shot): by_seed(results, row, shot) for row in repeated for shot in SHOTS}
    lines = [line for (name, shot), seeds in found.items() if len(seeds) > 1 for line in accuracy_lines(seeds, shot)]
    lines += [line for shot in SHOTS for line in eci_lines(found[ECI, shot], found[EI, shot], shot)]
    return markdown(HEADER, lines) if lines else ""


def by_seed(results: Path, row: Row, shot: int) -> dict[int, Scored]:
    """Return the results of each seed that has any."""
    of_seed = {0: row} | {seed: repeat for (name, seed), repeat in REPEATS.items() if name == row.name}
    return {seed: scored for seed, each in of_seed.items() if (scored := read_row(results, each, shot))}


def accuracy_lines(found: dict[int, Scored], shot: int) -> Iterator[list[str]]:
    """Yield a line without ICFIL, and one with it where it was; mean and deviation over seeds.

    Raises:
        ValueError: the seeds were scored on different episodes.
    """
    first = next(iter(found.values()))
    for other in found.values():
        paired(other, first)
    for method in first.accuracies:
        means = {seed: mean(scored, method) for seed, scored in found.items()}
        shown = [f"{100 * means[seed]:.2f}" if seed in means else "-" for seed in (0, *SEEDS)]
        yield [
            first.title + (" + ICFIL" if method == "icfil" else ""),
            str(shot),
            *shown,
            *spread(list(means.values())),
        ]


def eci_lines(eci: dict[int, Scored], ei: dict[int, Scored], shot: int) -> Iterator[list[str]]:
    """Yield one line: the paired difference of ECI and EI with each seed, both without ICFIL."""
    differences = {seed: paired(eci[seed], ei[seed]) for seed in eci.keys() & ei.keys()}
    if len(differences) > 1:
        shown = [percent(differences[seed]._asdict()) if seed in differences else "-" for seed in (0, *SEEDS)]
        yield ["ECI - EI, paired", str(shot), *shown, *spread([each.mean for each in differences.values()])]


def spread(values: list[float]) -> list[str]:
    """Return mean and sample standard deviation of two values or more, in %."""
    return [f"{100 * statistics.mean(values):.2f}", f"{100 * statistics.stdev(values):.2f}"]
