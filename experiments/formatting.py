"""How tables and figures are written in Markdown."""

from collections.abc import Iterable, Mapping, Sequence


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table; every line has as many cells as the header."""
    shown = [f"| {' | '.join(cells)} |" for cells in (header, *lines)]
    return "\n".join([shown[0], "|---" * len(header) + "|", *shown[1:]])


def percent(found: Mapping[str, float] | None) -> str:
    """Format a mean in 0 to 1 with its 95 % interval, in %; a dash where there is none."""
    return f"{100 * found['mean']:.2f} ± {100 * found['ci95']:.2f}" if found else "-"


def count(value: float | None) -> str:
    """Format a number without decimals; a dash where it is not known."""
    return "-" if value is None else f"{value:,.0f}"


def quoted(titles: Iterable[str]) -> str:
    """Return titles in quotation marks, with commas."""
    return ", ".join(f"'{title}'" for title in titles)
