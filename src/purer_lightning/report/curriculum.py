"""The curriculum and the inversion of a report's runs: curves over the updates."""

from collections.abc import Sequence

from purer_lightning.report import figures
from purer_lightning.report.markup import Html, join, plot, section, table, tag
from purer_lightning.report.runs import Run

VALIDATIONS = 12  # rows at most of the table that says in figures what the first picture shows


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
