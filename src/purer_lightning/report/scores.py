"""The results as sentences and tables: each with its interval, beside the baselines, on the same episodes."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from purer_lightning.evaluation.metrics import Interval
from purer_lightning.report.figures import run_class
from purer_lightning.report.markup import Html, breakable, html, join, percent, plot, section, table, tag
from purer_lightning.report.results import ICFIL, PLAIN, Result, Row, Task, by_task, paired
from purer_lightning.report.runs import Run, spoken
from purer_lightning.report.spread import distribution

COLUMNS = ("method", "accuracy, %", "from guessing to the best")
WHISKER = (0, 120)  # width of a drawing of an interval, from guessing to the table's best


def results_section(runs: Sequence[Run], results: Sequence[Result]) -> Html:
    """Return the section of all results, a table for each task."""
    if not any(result.run is not None for result in results):
        best = str(runs[0].folder / "checkpoints" / "best.ckpt")
        command = shlex.join(["purer", "test", "--ckpt_path", best])
        say = tag("p", "None of these runs has been tested yet. ", tag("code", f"{command} ..."))
        return section("results", "Results", say, *[_task_table(t, rows) for t, rows in by_task(results).items()])
    parts = [_task_table(task, rows) for task, rows in by_task(results).items()]
    return section("results", "Results", *parts)


def verdicts(results: Sequence[Result]) -> list[Html]:
    """Return a paragraph for each task of the final test on which a run was scored."""
    said = []
    for task, rows in by_task(results).items():
        if _own(rows) and task.split == "test":
            said.append(tag("p", *_verdict(task, _own(rows), _baselines(rows)), class_="verdict"))
    return said


def reference(rows: Sequence[Row]) -> Row:
    """Return the row that the others are compared with: the first run's, with ICFIL where it was."""
    first = next((row for row in rows if row.result.run is not None), rows[0])
    return [row for row in rows if row.result is first.result][-1]


def _own(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.result.run is not None]


def _baselines(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.result.run is None]


def _mean(row: Row) -> float:
    return row.result.interval(row.method).mean


def _verdict(task: Task, own: Sequence[Row], baselines: Sequence[Row]) -> list[object]:
    shots = "1 picture" if task.shot == 1 else f"{task.shot} pictures"
    mine = max(own, key=_mean)
    count = len(mine.result.accuracies[mine.method])
    told = (
        f"the best of these, {mine.title}, gets" if len({row.result.run for row in own}) > 1 else f"{mine.title} gets"
    )
    said: list[object] = [
        f"On {count:,} tasks of {task.way} unseen classes of {task.dataset} with {shots} a class, {told} ",
        join([_plus_minus(mine), f" of the queries right; guessing, {percent(1 / task.way, 0)}\N{NO-BREAK SPACE}%."]),
    ]
    if not baselines:
        return [*said, " No baseline was scored on these tasks: test one before you judge the figure."]
    best = max(baselines, key=_mean)
    difference = paired(mine, best)
    known = "The baseline" if len(baselines) == 1 else f"The best of {len(baselines)} baselines"
    said += [f" {known}, {best.title}, gets ", _plus_minus(best)]
    return [*said, f": {mine.title} is {_compared(difference)}." if difference else "."]


def _compared(difference: Interval) -> str:
    points = f"{percent(abs(difference.mean))} ± {percent(difference.ci95)} points"
    if abs(difference.mean) <= difference.ci95:
        return f"not told apart from it (a difference of {points}, episode by episode)"
    return f"{'above' if difference.mean > 0 else 'below'} it by {points}, episode by episode"


def _plus_minus(row: Row) -> Html:
    mean, half, _ = row.result.interval(row.method)
    return tag("strong", f"{percent(mean)} ± {percent(half)} %")


def _task_table(task: Task, rows: Sequence[Row]) -> Html:
    rows = [*_own(rows), *sorted(_baselines(rows), key=_mean, reverse=True)]
    intervals = [row.result.interval(row.method) for row in rows]
    known, low = reference(rows), 1 / task.way
    high = max(mean + half for mean, half, _ in intervals)
    where = "meta-test" if task.split == "test" else f"meta-{task.split}"
    caption = join(
        [
            tag("strong", f"{task.way}-way {task.shot}-shot on {where} of {task.dataset}"),
            f", {task.query} queries a class, episodes of seed {task.seed}; mean and 95 % interval over episodes.",
        ]
    )
    head = [
        *COLUMNS,
        Html(f"minus {html(known.title)}, paired"),
        "episodes",
        "transductive",
        "parameters",
        "Mmac a query",
    ]
    body = [_cells(row, own, known, (low, high)) for row, own in zip(rows, intervals, strict=True)]
    return table(caption, head, body, class_="results")


def _cells(row: Row, own: Interval, known: Row, ends: tuple[float, float]) -> list[object]:
    said, run = row.result.said, row.result.run
    difference = None if row is known else paired(row, known)
    mark = run_class(run) if run is not None else "baseline"
    swatch = tag("span", class_=f"swatch {mark}", aria_hidden="true")
    parameters, macs = (said["meta_model"].get(name) for name in ("parameters", "macs_per_query"))
    return [
        join([swatch, breakable(row.title), tag("small", in_words(said["meta_model"], row.method))]),
        tag("strong", percent(own.mean, 2), " ± ", percent(own.ci95, 2)),
        whisker(own, ends, run),
        f"{100 * difference.mean:+.2f} ± {percent(difference.ci95, 2)}".replace("-", "\N{MINUS SIGN}")
        if difference
        else "",
        f"{own.episodes:,}",
        "yes" if said.get("transductive") else "no",
        f"{parameters:,}" if parameters else "",
        f"{macs / 1e6:.1f}" if macs else "",
    ]


def in_words(model: Mapping[str, Any], method: str = PLAIN) -> str:
    """Return what a result says of its meta-model, for people."""
    teachers = model.get("architectures", ())
    of_teachers = "one teacher" if len(teachers) == 1 else f"{len(teachers)} teachers"
    body = of_teachers if teachers else f"{spoken(model['learner'])}, {model.get('architecture', '')}"
    head = f", {model['representation']} + {model['head']} head" if "head" in model else ""
    steps = model.get("test_inner_steps") or model.get("inner_steps")
    inner = f", {steps} inner step{'s' if steps != 1 else ''}" if steps else ""
    return body + head + inner + (", calibrated" if method == ICFIL else "")


def whisker(own: Interval, ends: tuple[float, float], run: int | None) -> Html:
    """Draw an interval between guessing and the best; the figures stand beside it, so it is hidden from readers."""
    left, right = WHISKER
    mine = f" {run_class(run)}" if run is not None else ""
    scale = (right - left - 16) / max(ends[1] - ends[0], 1e-9)
    at = [8 + scale * (value - ends[0]) for value in (own.mean - own.ci95, own.mean, own.mean + own.ci95)]
    return Html(
        f'<svg class="whisker{mine}" viewBox="0 0 {right} 16" width="{right}" height="16" aria-hidden="true">'
        f'<line class="base" x1="0" x2="{right}" y1="8" y2="8"/>'
        f'<line class="interval" x1="{at[0]:.1f}" x2="{at[2]:.1f}" y1="8" y2="8"/>'
        f'<circle cx="{at[1]:.1f}" cy="8" r="3.5"/></svg>'
    )


def distributions(results: Sequence[Result]) -> list[Html]:
    """Return a histogram of the episodes' accuracies for each task on which a run was scored."""
    figures = []
    for number, (task, rows) in enumerate(by_task(results).items()):
        shown = [
            (row.title, row.result.run, row.method == PLAIN and ICFIL in row.result.accuracies, _values(row))
            for row in rows
            if row.result.run is not None
        ]
        if shown:
            title = f"{task.way}-way {task.shot}-shot, {task.split}"
            label = f"Histogram of the accuracies in single episodes, {title}"
            note = f"{title}: the share of episodes by accuracy. Dotted: without ICFIL, where both were scored."
            figures.append(plot(f"episodes-{number}", distribution(shown), label, note))
    return figures


def _values(row: Row) -> list[float]:
    return list(row.result.accuracies[row.method].values())
