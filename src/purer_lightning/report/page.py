"""``purer report``: one HTML file of one or more runs that needs no network and no account."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from string import Template

from purer_lightning import __version__
from purer_lightning.errors import PurerError
from purer_lightning.files import is_stdout, replacing
from purer_lightning.report.markup import Html, html, join, tag
from purer_lightning.report.overview import method, run_name, state, task
from purer_lightning.report.results import find_results
from purer_lightning.report.runs import Run, read_runs
from purer_lightning.report.scores import verdicts
from purer_lightning.report.sections import SECTIONS, Content, Section
from purer_lightning.running.names import REPORT


def report(
    runs: list[str],
    output: str | None = None,
    root: str | None = None,
    pictures: bool = True,
    sections: list[str] | None = None,
) -> None:
    """Write a report of runs: what was run, its curves, its pseudo images, its results beside the baselines.

    Several runs are laid over one another. A run that is still going on is shown as far as it has come.

    Args:
        runs: one or more run folders with a blank between two, as purer fit made them, of one data set.
        output: the HTML file; report.html in the first run's folder when not given.
        root: the folder of the prepared data sets, for pictures of single episodes; the runs' own when not given.
        pictures: False leaves out all pictures, pseudo images and episodes: the former can show what the teachers were
            trained on, the latter are of the data set.
        sections: further ones of your own, after ours: package.module.Class, or names that an installed package offers.

    Raises:
        PurerError: a folder that is no run or has no curves, runs of different data sets, or a file that cannot be
            written.
    """
    for name in sections or ():
        SECTIONS.name(name, "--sections")
    chosen = [SECTIONS.find(name)() for name in (*SECTIONS.ours, *(sections or ()))]
    read = read_runs(runs)
    path = Path(output) if output else read[0].folder / REPORT
    if path.is_dir() or not path.parent.is_dir():
        found = "is a folder" if path.is_dir() else f"would lie in '{path.parent}', which is no folder"
        raise PurerError(f"Expected --output to name a file in a folder that exists, but '{path}' {found}.")
    page = build(Content(read, find_results(read), root, pictures), chosen)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(f"The report is {path}: open it in a browser.", file=sys.stderr if is_stdout(path) else sys.stdout)


def build(content: Content, sections: Sequence[Section]) -> str:
    """Return the whole page: what the runs are, then these sections."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    runs, results = content.runs, content.results
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs on {runs[0].setting('data.dataset')}"
    template = files("purer_lightning.report") / "template"
    return Template((template / "page.html").read_text(encoding="utf-8")).substitute(
        title=html(title),
        style=(template / "page.css").read_text(encoding="utf-8"),
        script=(template / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        lede=join([*[tag("p", *_lede(run, len(runs) > 1)) for run in runs], *verdicts(results)]),
        switches=switches(runs),
        sections=join(each.render(content) for each in sections),
        written=f"purer-lightning {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def _lede(run: Run, named: bool) -> list[object]:
    of = f"{run.name}: " if named else ""
    return [f"{of}{method(run)} on {task(run)}. {state(run)[:1].upper()}{state(run)[1:]}."]


def switches(runs: Sequence[Run]) -> Html:
    """Return a box to tick for each run, which shows it in all figures or hides it; nothing for a single run."""
    if len(runs) == 1:
        return Html("")
    boxes = [
        tag("label", tag("input", type="checkbox", checked=True, data_run=position), run_name(run, position))
        for position, run in enumerate(runs)
    ]
    return tag("fieldset", tag("legend", "Runs"), *boxes, class_="switches")
