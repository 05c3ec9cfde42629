"""Sweeps what distillation depends on, on meta-val, and writes distillation_sweep.md. Hours; goes on where it stopped.

.venv/bin/python experiments/sweep_distillation.py [NAME ...]
"""

import json
import shlex
import sys
from pathlib import Path

from rows import SHOTS, Fit, one_fit
from run import ROOT, Runner, command

from purer_lightning.files import replacing

CONFIG = "cifar_fs_distill.yaml"
EPISODES = 600  # of meta-val
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
    "updates_1800": {"--trainer.max_steps": "1800"},
    "width_64": {"--model.learner.init_args.arguments": '{"width": 64}'},
}


def fit_of(name: str) -> Fit:
    """Return the fit of one setting."""
    flags = [word for pair in (CENTRE | SETTINGS[name]).items() for word in pair]
    return one_fit(f"sweep_{name}", name, [CONFIG], flags)[SHOTS[0]]


def results_of(name: str) -> list[Path]:
    """Return where each shot's results on meta-val lie once they are there."""
    return [ROOT / "runs" / fit_of(name).name / f"{shot}shot" / "validate" / "results.json" for shot in SHOTS]


def measure(runner: Runner, name: str) -> None:
    """Fit one setting and score its last weights on meta-val, unless that has been done."""
    fit = fit_of(name)
    for shot, results in zip(SHOTS, results_of(name), strict=True):
        if not results.exists():
            runner.train(fit)
            words = ["--data.shot", str(shot), "--data.validation_episodes", str(EPISODES)]
            checkpoint = ["--ckpt_path", f"runs/{fit.name}/checkpoints/last.ckpt"]
            folder = ["--run", f"runs/{fit.name}/{shot}shot", "--trainer.enable_progress_bar", "false"]
            runner.call(["validate", *fit.words(), *words, *checkpoint, *folder])


def line(name: str) -> str:
    """Format one line of the table."""
    plain = [json.loads(file.read_text())["results"][-1]["plain"] for file in results_of(name)]
    summary = json.loads((ROOT / "runs" / fit_of(name).name / "summary.json").read_text())
    commit = (ROOT / "runs" / fit_of(name).name / "commit.txt").read_text().split()[0]
    shown = " | ".join(f"{100 * cell['mean']:.2f} ± {100 * cell['ci95']:.2f}" for cell in plain)
    flags = shlex.join(f"{key.removeprefix('--')}={value}" for key, value in SETTINGS[name].items())
    return f"| {name} | {flags or '-'} | {shown} | {summary['minutes']:.1f} | {commit} |"


def table() -> str:
    """Return the page, of the settings that have been measured."""
    centre = " ".join(f"{key} {value}" for key, value in CENTRE.items())
    lines = [line(name) for name in SETTINGS if all(file.exists() for file in results_of(name))]
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
    """Measure these settings, all without a name, and write the page after each."""
    runner = Runner(ROOT, command())
    for name in names or SETTINGS:
        measure(runner, name)
        with replacing(ROOT / "experiments" / "distillation_sweep.md") as file:
            file.write_text(table())


if __name__ == "__main__":
    main(sys.argv[1:])
