"""What the sweeps of fits have in common: settings around a centre, a fit and a score on meta-val for each, a page.

A sweep is declared in a file of its own, sweep_NAME.py, as one `Sweep`. Its figures lie in NAME_sweep.json, and
NAME_sweep.md is written from them. What stands there is not measured again: remove it there, and its folder in runs,
to have it made anew. Several processes may share a sweep if each is given settings of its own.
"""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from formatting import markdown, percent
from purer_lightning.errors import PurerError, nearest
from purer_lightning.files import replacing
from purer_lightning.running.names import COMMIT, RESULTS, SUMMARY
from rows import SHOTS, Fit, one_fit
from run import ROOT, Runner, command
from scored import commits

EPISODES = 600  # of meta-val, for every setting
Record = Mapping[str, Any]  # of one setting: what `measured` returns


@dataclass(frozen=True)
class Sweep:
    """What is fitted, and what is written over it.

    Attributes:
        name: of its files and run folders.
        title: of the page.
        scored: what is scored, in words.
        config: of every fit.
        centre: flags of every fit, and their values.
        settings: name of each setting, and the flags by which it differs from the centre. Episodes are drawn from seed
            0 in any case, so a setting may have another training seed.
        shots: of the episodes that are scored.
        scoring: flags of the scoring.
    """

    name: str
    title: str
    scored: str
    config: str
    centre: Mapping[str, str]
    settings: Mapping[str, Mapping[str, str]]
    shots: tuple[int, ...] = SHOTS
    scoring: tuple[str, ...] = ()

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Return these settings, all for none.

        Raises:
            PurerError: there is no such setting.
        """
        for name in names:
            if name not in self.settings:
                raise PurerError(
                    f"There is no setting '{name}', only {', '.join(self.settings)}.{nearest(name, self.settings)}"
                )
        return list(names or self.settings)

    def fit(self, name: str) -> Fit:
        """Return the fit of one setting."""
        flags = [word for pair in {**self.centre, **self.settings[name]}.items() for word in pair]
        return one_fit(f"{self.name}_sweep_{name}", name, [self.config], flags)[SHOTS[0]]


def measured(runner: Runner, sweep: Sweep, name: str) -> Record:
    """Fit one setting and score its last weights on meta-val.

    Returns:
        ``shots``: mean and half the interval of the accuracy, 0 to 1, by number of shots; ``minutes`` of the fit;
        ``commit``, or commits where it was resumed under another.
    """
    fit = sweep.fit(name)
    folder = runner.root / "runs" / fit.name
    runner.train(fit)
    shots = {}
    for shot in sweep.shots:
        results = folder / f"{shot}shot" / "validate" / RESULTS
        if not results.exists():
            runner.call(["validate", *scoring_words(sweep, fit, shot)])
        found = json.loads(results.read_text())["results"][-1]["plain"]
        shots[str(shot)] = [found["mean"], found["ci95"]]
    minutes = json.loads((folder / SUMMARY).read_text())["minutes"]
    return {"shots": shots, "minutes": minutes, "commit": commits(folder / COMMIT)}


def scoring_words(sweep: Sweep, fit: Fit, shot: int) -> list[str]:
    """Return the words of a fit's ``purer validate``."""
    return [
        *(*fit.words(), *sweep.scoring, "--seed_everything", "0", "--data.shot", str(shot)),
        *("--data.validation_episodes", str(EPISODES), "--ckpt_path", f"runs/{fit.name}/checkpoints/last.ckpt"),
        *("--run", f"runs/{fit.name}/{shot}shot", "--trainer.enable_progress_bar", "false"),
    ]


def line(sweep: Sweep, name: str, record: Record) -> list[str]:
    """Return one line of the table."""
    scores = [record["shots"][str(shot)] for shot in sweep.shots]
    differs = shlex.join(f"{key.removeprefix('--')}={value}" for key, value in sweep.settings[name].items())
    return [
        *(name, differs or "-", *(percent({"mean": mean, "ci95": ci95}) for mean, ci95 in scores)),
        *(f"{record['minutes']:.1f}", record["commit"]),
    ]


def written(sweep: Sweep, records: Mapping[str, Record]) -> str:
    """Return the page, of the settings that have been measured."""
    centre = shlex.join(word for pair in sweep.centre.items() for word in pair)
    lines = [line(sweep, name, records[name]) for name in sweep.settings if name in records]
    header = ["setting", "flags", *(f"{shot}-shot" for shot in sweep.shots), "minutes", "commit"]
    return "\n".join(
        [
            f"# {sweep.title}",
            "",
            f"CIFAR-FS, {EPISODES} fixed episodes of meta-val, one run a line, training seed 0 where no other is "
            f"named; {sweep.scored}. Meta-test played no part.",
            f"All around `purer fit --config {sweep.config} {centre}`; the settings are the flags in which a line "
            "differs. Minutes: of the fit, on a shared machine.",
            "",
            markdown(header, lines),
            "",
            f"Written by `.venv/bin/python experiments/sweep_{sweep.name}.py`.",
            "",
        ]
    )


def read_records(file: Path) -> dict[str, Record]:
    """Return the settings that have been measured."""
    found: dict[str, Record] = json.loads(file.read_text()) if file.exists() else {}
    return found


def run_sweep(sweep: Sweep, names: Sequence[str], runner: Runner) -> None:
    """Measure those of these settings that have not been, all without a name, and write both files after each.

    Raises:
        PurerError: there is no such setting, or a command failed.
    """
    file = runner.root / "experiments" / f"{sweep.name}_sweep.json"
    for name in sweep.chosen(names):
        record = read_records(file).get(name) or measured(runner, sweep, name)
        records = {**read_records(file), name: record}  # another process may have written in the meantime
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(records, indent=2) + "\n")
        with replacing(file.with_suffix(".md")) as temporary:
            temporary.write_text(written(sweep, records))


def main(sweep: Sweep) -> None:
    """Run a sweep of the settings that the command line names."""
    try:
        run_sweep(sweep, sys.argv[1:], Runner(ROOT, command()))
    except PurerError as error:
        sys.exit(f"experiments/sweep_{sweep.name}.py: {error}")
