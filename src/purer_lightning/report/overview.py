"""What was run and on what, in one table with a column a run."""

from collections.abc import Callable, Sequence

from purer_lightning.report.figures import run_class
from purer_lightning.report.markup import Html, breakable, details, join, percent, section, table, tag
from purer_lightning.report.runs import Run, spoken
from purer_lightning.running.progress import duration

Line = tuple[str, Callable[[Run], str]]


def overview(runs: Sequence[Run]) -> Html:
    """Return the section: settings that matter, pool, data set, machine, commit, duration; the rest folded away."""
    rows = []
    for name, describe in LINES:
        said = [describe(run) for run in runs]
        if any(said):
            differs = len(set(said)) > 1
            marked = Html("{} <abbr title='the runs differ in this'>≠</abbr>").format(name) if differs else name
            rows.append([Html(marked), *[cell or "not known" for cell in said]])
    head = ["setting", *[run_name(run, position) for position, run in enumerate(runs)]]
    configs = [
        details(f"The whole configuration of {run.name}", tag("pre", run.config_text, tabindex="0")) for run in runs
    ]
    return section("run", "What was run", table("Settings, data and machine", head, rows), *configs)


def run_name(run: Run, position: int) -> Html:
    """Return a run's name behind a mark of its colour."""
    return join([tag("span", class_=f"swatch {run_class(position)}", aria_hidden="true"), breakable(run.name)])


def method(run: Run) -> str:
    """Return what a run does, by the paper's names."""
    of_images = "ECI" if run.setting("model.curriculum.enabled", True) else "EI"
    if run.setting("synthesis.source") == "real":
        of_images = "real images (a ceiling, not data-free)"
    if own := _class(run, "synthesis.method"):
        of_images += f", images by {own}"
    objective = _class(run, "model.objective") or "Episodic"
    return of_images + (f" + {spoken(_class(run, 'model.learner'))}" if objective == "Episodic" else f" + {objective}")


def task(run: Run) -> str:
    """Return a run's data set and the size of its episodes."""
    way, shot, query = (run.setting(f"data.{name}") for name in ("way", "shot", "query"))
    return f"{run.setting('data.dataset')}, {way}-way {shot}-shot, {query} queries a class"


def state(run: Run) -> str:
    """Return how far a run has come, and how long that took."""
    planned, done = run.setting("trainer.max_steps", -1), run.updates
    minutes = run.summary.get("minutes", run.times[-1].minutes if run.times else None)
    took = f" in {duration(60 * minutes)}" if minutes is not None else ""
    if run.summary and done >= planned:
        return f"{done:,} updates{took}"
    of = f" of {planned:,}" if planned > 0 else ""
    return f"{done:,}{of} updates{took}; stopped before its end, or still running"


def _class(run: Run, key: str) -> str:
    return str(run.setting(f"{key}.class_path", "")).rpartition(".")[2]


def _learner(run: Run) -> str:
    own = dict(run.setting("model.learner.init_args", {}))
    words = [str(own.pop("architecture", "")), *_pairs(own)]
    return f"{spoken(_class(run, 'model.learner'))}: {', '.join(word for word in words if word)}"


def _objective(run: Run) -> str:
    if not _class(run, "model.objective"):
        return "Episodic"
    return ", ".join([_class(run, "model.objective"), *_pairs(run.setting("model.objective.init_args", {}))])


def _pairs(settings: dict[str, object]) -> list[str]:
    return [_pair(name.replace("_", " "), value) for name, value in settings.items() if value not in (None, {})]


def _pair(name: str, value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(_pairs(value))
    return f"{name} {value}" if not isinstance(value, bool) else name if value else f"no {name}"


def _curriculum(run: Run) -> str:
    if not run.setting("model.curriculum.enabled", True):
        return "off (EI)"
    values = {name: run.setting(f"model.curriculum.{name}") for name in ("warm_up", "patience", "weight")}
    return ", ".join(_pairs(values)) or "the paper's"


def _inversion(run: Run) -> str:
    values = {
        "initial steps": run.setting("synthesis.initial_steps"),
        "image rate": run.setting("model.image_lr"),
        "a data step each": run.setting("model.data_step_every"),
        **{f"{name} weight": value for name, value in (run.setting("model.inversion", {})).items()},
    }
    return ", ".join(_pairs(values))


def _meta(run: Run) -> str:
    schedule = run.setting("model.meta_schedule", "constant")
    return f"{run.setting('model.meta_lr')}, {schedule.replace('_', ' ')}"


def _episodes(run: Run) -> str:
    each, per_class = run.setting("data.episodes_per_update"), run.setting("data.images_per_class")
    default = run.setting("data.shot", 0) + run.setting("data.query", 0)
    return f"{each} an update; {per_class or default} pseudo images a class"


def _pool(run: Run) -> str:
    folder = run.setting("data.pool")
    if run.pool is None:
        return f"{folder} (not found here any more)"
    teachers = run.pool.teachers
    classes = {(t.dataset, known) for t in teachers for known in t.class_ids}
    architectures = ", ".join(sorted({t.network.architecture for t in teachers}))
    held_out = [t.held_out_accuracy for t in teachers if t.held_out_accuracy is not None]
    measured = f", {percent(sum(held_out) / len(held_out))} % right on held-out images" if held_out else ""
    return f"{folder}: {len(teachers)} teachers ({architectures}) of {len(classes)} classes{measured}"


def _machine(run: Run) -> str:
    said = run.summary
    if not said.keys() >= {"device", "threads", "cores", "machine", "peak_memory_gib"}:  # as of another version
        return ""
    return (
        f"{said['device']}, {said['threads']} of {said['cores']} cores ({said['machine']}), "
        f"{said['peak_memory_gib']:.1f} GiB at most"
    )


def _versions(run: Run) -> str:
    said = run.summary
    known = said.keys() >= {"purer_lightning", "torch"}
    return f"purer-lightning {said['purer_lightning']}, torch {said['torch']}" if known else ""


LINES: list[Line] = [
    ("method", method),
    ("task", task),
    ("pool", _pool),
    ("meta-model", _learner),
    ("objective", _objective),
    ("curriculum", _curriculum),
    ("inversion", _inversion),
    ("meta rate", _meta),
    ("episodes", _episodes),
    ("seed", lambda run: str(run.setting("seed_everything", ""))),
    ("done", state),
    ("machine", _machine),
    ("versions", _versions),
    ("commit", lambda run: run.commit or ""),
]
