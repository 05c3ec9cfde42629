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
from purer_lightning.report import figures
from purer_lightning.report.episodes import episodes_section
from purer_lightning.report.images import galleries
from purer_lightning.report.markup import Html, html, join, plot, section, table, tag
from purer_lightning.report.overview import method, overview, run_name, state, task
from purer_lightning.report.results import Result, find_results
from purer_lightning.report.runs import Run, read_runs
from purer_lightning.report.scores import results_section, verdicts
from purer_lightning.running.names import REPORT

VALIDATIONS = 12  # rows at most of the table that says in figures what the first picture shows


def report(runs: list[str], output: str | None = None, root: str | None = None, pictures: bool = True) -> None:
    """Write a report of runs: what was run, its curves, its pseudo images, its results beside the baselines.

    Several runs are laid over one another. A run that is still going on is shown as far as it has come.

    Args:
        runs: one or more run folders with a blank between two, as purer fit made them, of one data set.
        output: the HTML file; report.html in the first run's folder when not given.
        root: the folder of the prepared data sets, for pictures of single episodes; the runs' own when not given.
        pictures: False leaves out all pictures, pseudo images and episodes: the former can show what the teachers were
            trained on, the latter are of the data set.

    Raises:
        PurerError: a folder that is no run or has no curves, runs of different data sets, or a file that cannot be
            written.
    """
    read = read_runs(runs)
    path = Path(output) if output else read[0].folder / REPORT
    if path.is_dir() or not path.parent.is_dir():
        found = "is a folder" if path.is_dir() else f"would lie in '{path.parent}', which is no folder"
        raise PurerError(f"Expected --output to name a file in a folder that exists, but '{path}' {found}.")
    page = build(read, find_results(read), root, pictures=pictures)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(f"The report is {path}: open it in a browser.", file=sys.stderr if is_stdout(path) else sys.stdout)


def build(runs: Sequence[Run], results: Sequence[Result], root: str | None = None, *, pictures: bool = True) -> str:
    """Return the whole page.

    Args:
        runs: of ``read_runs``.
        results: of ``find_results``.
        root: see ``report``.
        pictures: see ``report``.
    """
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs on {runs[0].setting('data.dataset')}"
    sections = [
        overview(runs),
        training(runs),
        galleries(runs) if pictures else "",
        inversion(runs),
        results_section(runs, results),
        episodes_section(runs, results, root, pictures=pictures),
    ]
    template = files("purer_lightning.report") / "template"
    return Template((template / "page.html").read_text(encoding="utf-8")).substitute(
        title=html(title),
        style=(template / "page.css").read_text(encoding="utf-8"),
        script=(template / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        lede=join([*[tag("p", *_lede(run, len(runs) > 1)) for run in runs], *verdicts(results)]),
        switches=switches(runs),
        sections=join(sections),
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


def training(runs: Sequence[Run]) -> Html:
    """Return the section of the curriculum: difficulty, firings and accuracies over the updates."""
    label = "Curves over the meta-updates: difficulty, firings of the gradient switch, accuracies. " + " ".join(
        _in_short(run) for run in runs
    )
    note = "Thin: what was logged, or means of neighbours. Bold and dotted: moving means. Bars: 95 % intervals."
    if len({run.setting("model.objective.class_path") for run in runs}) > 1:
        note += " These runs minimise different losses, so their difficulties are not of one unit."
    parts = [plot("curriculum", figures.curriculum(runs), label, note)]
    timed = figures.against_time(runs)
    if timed:
        label = "Accuracy on meta-val against minutes of training."
        parts.append(plot("time", timed, label, "Accuracy on meta-val against the minutes that it took."))
    return section("training", "Difficulty and accuracy", *parts, *[_validations(run) for run in runs])


def _in_short(run: Run) -> str:
    curve = run.curves["curriculum/difficulty"]
    fired = len(figures.firing_updates(run))
    return f"{run.name}: difficulty from {curve.values[0]:.2f} to {curve.values[-1]:.2f}, {fired} firings."


def _validations(run: Run) -> Html:
    """Return a table of validations, for those who would rather read figures, or cannot see pictures."""
    accuracy, half = run.curves.get("val/accuracy"), run.curves.get("val/ci95")
    if accuracy is None or half is None:
        return tag("p", f"{run.name} has not been validated yet.")
    fired = figures.firing_updates(run)
    every = -(-len(accuracy.updates) // VALIDATIONS)
    rows = []
    for update, mean, ci95 in list(zip(accuracy.updates, accuracy.values, half.values, strict=False))[::-every][::-1]:
        before = sum(at <= update for at in fired)
        rows.append([f"{update:,}", f"{100 * mean:.1f} ± {100 * ci95:.1f}", f"{before:,}"])
    shown = table(f"Validations of {run.name}", ["update", "accuracy on meta-val, %", "firings until then"], rows)
    return tag("details", tag("summary", f"The validations of {run.name} as a table"), shown)


def inversion(runs: Sequence[Run]) -> Html:
    """Return the section of the inversion's terms."""
    shown = []
    for term, meaning in figures.inversion_terms(runs).items():
        figure = figures.inversion(runs, term)
        if figure:
            label = f"Inversion term {term} over the meta-updates"
            shown.append(
                plot(f"inversion-{term}", figure, label, join([tag("strong", term.replace("_", " ")), f": {meaning}"]))
            )
    if not shown:
        return section(
            "inversion", "Inversion", tag("p", "No update of these runs moved the images, so no terms were logged.")
        )
    note = "Each term is summed over the teachers and shown before its weight, but for the total."
    return section("inversion", "Inversion", tag("p", note), tag("div", *shown, class_="grid"))
