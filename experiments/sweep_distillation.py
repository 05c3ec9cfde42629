"""Sweeps what distillation depends on, on meta-val. An hour or two; goes on where it stopped.

.venv/bin/python experiments/sweep_distillation.py [NAME ...]

Writes distillation_sweep.json, and distillation_sweep.md from it. A setting that stands there is not measured again:
remove it there, and its folder in runs, to have it made anew.
"""

import json
import shlex
import sys
from typing import Any

from rows import SHOTS, Fit, one_fit
from run import ROOT, Runner, command

from purer_lightning.files import replacing
from purer_lightning.running.names import COMMIT, RESULTS, SUMMARY

CONFIG = "cifar_fs_distill.yaml"
EPISODES = 600  # of meta-val
PAGE = ROOT / "experiments" / "distillation_sweep.md"
RECORDS = PAGE.with_suffix(".json")
OBJECTIVE = "--model.objective.init_args"
# Around these, which are short: the order of settings is what is asked, not how far each one gets.
CENTRE = {
    "--trainer.max_steps": "600",
    "--data.updates_per_epoch": "600",
    f"{OBJECTIVE}.procedural": "1.0",
    "--synthesis.initial_steps": "0",
}
INVERTED = {f"{OBJECTIVE}.procedural": "0.6", "--synthesis.initial_steps": "200"}
NO_MIRROR = {f"{OBJECTIVE}.mirror": "false"}  # cheaper, and no worse
# Name of the setting, and the flags by which it differs from the centre.
SETTINGS: dict[str, dict[str, str]] = {
    "centre": {},
    "no_mirror": NO_MIRROR,
    "rate_0.003": {"--model.meta_lr": "0.003"},
    "no_mixing": {f"{OBJECTIVE}.augmentation": '{"mixup": 0, "cutmix": 0}'},
    "inverted_40": INVERTED,
    "inverted_100": INVERTED | {f"{OBJECTIVE}.procedural": "0.0"},
    "inverted_40_paper": INVERTED | {"--model.inversion.feature": "0.01", "--model.image_lr": "0.25"},
    "inverted_40_refreshed": INVERTED | {"--model.data_step_every": "10"},
    "inverted_40_curriculum": INVERTED
    | {"--model.curriculum": '{"enabled": true, "warm_up": 100, "patience": 20, "weight": 10}'},
    "loss_mse": NO_MIRROR | {f"{OBJECTIVE}.loss": "mse"},
    "loss_kl": NO_MIRROR | {f"{OBJECTIVE}.loss": "kl"},
    "loss_relational": NO_MIRROR | {f"{OBJECTIVE}.loss": "relational"},
    "features": NO_MIRROR | {f"{OBJECTIVE}.features": "1.0"},
    "with_episodes": NO_MIRROR | {f"{OBJECTIVE}.episodic": "1.0"},
    "inverted_100_of_60": INVERTED | {f"{OBJECTIVE}.procedural": "0.0", "--data.images_per_class": "60"},
    "constant_rate": NO_MIRROR | {"--model.meta_schedule": "constant", "--model.meta_lr": "0.003"},
    "reuse_16": NO_MIRROR | {f"{OBJECTIVE}.reuse": "16"},
    "updates_1800": {"--trainer.max_steps": "1800"},
    "width_64": {"--model.learner.init_args.arguments": '{"width": 64}'},
}


def fit_of(name: str) -> Fit:
    """Return the fit of one setting."""
    flags = [word for pair in (CENTRE | SETTINGS[name]).items() for word in pair]
    return one_fit(f"sweep_{name}", name, [CONFIG], flags)[SHOTS[0]]


def measured(runner: Runner, name: str) -> dict[str, Any]:
    """Fit one setting and score its last weights on meta-val.

    Returns:
        ``shots``: mean and half the interval of the accuracy, 0 to 1, by number of shots; ``minutes`` of the fit;
        ``commit``.
    """
    fit = fit_of(name)
    folder = ROOT / "runs" / fit.name
    runner.train(fit)
    shots = {}
    for shot in SHOTS:
        words = ["--data.shot", str(shot), "--data.validation_episodes", str(EPISODES)]
        checkpoint = ["--ckpt_path", f"runs/{fit.name}/checkpoints/last.ckpt"]
        run = ["--run", f"runs/{fit.name}/{shot}shot", "--trainer.enable_progress_bar", "false"]
        runner.call(["validate", *fit.words(), *words, *checkpoint, *run])
        found = json.loads((folder / f"{shot}shot" / "validate" / RESULTS).read_text())["results"][-1]["plain"]
        shots[str(shot)] = [found["mean"], found["ci95"]]
    minutes = json.loads((folder / SUMMARY).read_text())["minutes"]
    return {"shots": shots, "minutes": minutes, "commit": (folder / COMMIT).read_text().split()[0]}


def line(name: str, record: dict[str, Any]) -> str:
    """Format one line of the table."""
    shown = " | ".join(f"{100 * mean:.2f} ± {100 * ci95:.2f}" for mean, ci95 in record["shots"].values())
    flags = shlex.join(f"{key.removeprefix('--')}={value}" for key, value in SETTINGS[name].items())
    return f"| {name} | {flags or '-'} | {shown} | {record['minutes']:.1f} | {record['commit']} |"


def table(records: dict[str, dict[str, Any]]) -> str:
    """Return the page, of the settings that have been measured."""
    centre = " ".join(f"{key} {value}" for key, value in CENTRE.items())
    lines = [line(name, records[name]) for name in SETTINGS if name in records]
    return "\n".join(
        [
            "# Distillation: what matters, on meta-val",
            "",
            f"CIFAR-FS, {EPISODES} fixed episodes of meta-val, seed 0, one run a line; student's logits and nearest "
            "centroid. Meta-test played no part.",
            f"All around `purer fit --config {CONFIG} {centre}`; the settings are the flags in which a line differs. "
            "Minutes: of the fit, on a shared machine.",
            "",
            "| setting | flags | 1-shot | 5-shot | minutes | commit |",
            "|---|---|---|---|---|---|",
            *lines,
            "",
            "Written by `.venv/bin/python experiments/sweep_distillation.py`.",
            "",
        ]
    )


def main(names: list[str]) -> None:
    """Measure those of these settings that have not been, all without a name, and write both files after each."""
    runner = Runner(ROOT, command())
    for name in names or SETTINGS:
        record = json.loads(RECORDS.read_text()).get(name) or measured(runner, name)
        records = json.loads(RECORDS.read_text()) | {name: record}  # another sweep may have written in the meantime
        with replacing(RECORDS) as file:
            file.write_text(json.dumps(records, indent=2) + "\n")
        with replacing(PAGE) as file:
            file.write_text(table(records))


if __name__ == "__main__":
    main(sys.argv[1:])
