"""Sweeps ICFIL's free values on meta-val, and what as many further inner steps do without it.

OMP_NUM_THREADS=1 .venv/bin/python experiments/sweep_icfil.py CHECKPOINT CONFIG [EPISODES [PART ...]]

The parts are "values" and "steps", by default both. What they print is kept in icfil_sweep.md.
"""

import contextlib
import json
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from formatting import percent
from purer_lightning.cli import main
from purer_lightning.running.names import RESULTS
from run import code_state

# The settings are stated whole, so that a later default changes no table.
CENTRE: dict[str, float] = {
    "temperature": 0.5,
    "steps": 5,
    "lr": 0.1,
    "images_per_class": 1,
    "inversion_steps": 10,
    "head_weight": 1.0,
}
# Each changes what it names.
SETTINGS: list[dict[str, float]] = [
    {},
    {"lr": 0.01},
    {"lr": 0.03},
    {"lr": 0.3},
    {"steps": 1},
    {"steps": 20},
    {"steps": 1, "lr": 0.01},
    {"images_per_class": 5},
    {"inversion_steps": 1},
    {"inversion_steps": 40},
    {"temperature": 0.1},
    {"temperature": 2.0},
    {"head_weight": 0.0},
]


# Of the inner loop, at test: those of the fit, and as many more as ICFIL's 5 and 20 steps add.
INNER_STEPS = (1, 6, 21)


def measure(
    checkpoint: str, config: str, episodes: int, flags: Mapping[str, float | str]
) -> dict[str, dict[str, float]]:
    """Return meta-val's intervals by method, under these flags."""
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    with tempfile.TemporaryDirectory() as folder:
        command = ["validate", "--config", config, "--ckpt_path", checkpoint, "--run", folder]
        quiet = ["--trainer.enable_progress_bar", "false", "--data.validation_episodes", str(episodes)]
        with contextlib.redirect_stdout(sys.stderr):
            main([*command, *quiet, *words])
        results = json.loads((Path(folder) / "validate" / RESULTS).read_text())
    found: dict[str, dict[str, float]] = results["results"][-1]
    return found


def shown(found: Mapping[str, Mapping[str, float]], methods: Sequence[str]) -> str:
    """Format a line's intervals, in %."""
    return " | ".join(percent(found[name]) for name in methods)


def sweep_values(checkpoint: str, config: str, episodes: int) -> None:
    """Print a line for each setting of ICFIL."""
    centre = ", ".join(f"{name} {value:g}" for name, value in CENTRE.items())
    print(f"ICFIL on meta-val, {episodes} episodes, checkpoint of {config}, around {centre}.\n")
    print("| changed | plain | ICFIL | ICFIL - plain, paired |\n|---|---|---|---|")
    for setting in SETTINGS:
        flags = {f"evaluation.calibration.{name}": value for name, value in (CENTRE | setting).items()}
        found = measure(checkpoint, config, episodes, flags)
        changed = ", ".join(f"{name} {value:g}" for name, value in setting.items()) or "nothing"
        print(f"| {changed} | {shown(found, ('plain', 'icfil', 'icfil_minus_plain'))} |", flush=True)


def sweep_steps(checkpoint: str, config: str, episodes: int) -> None:
    """Print a line for each number of inner steps at test, without ICFIL."""
    print(f"Inner steps at test without ICFIL, on meta-val, {episodes} episodes, checkpoint of {config}.\n")
    print("| inner steps | inner rate | plain |\n|---|---|---|")
    for rate in (0.01, 0.1):
        for steps in INNER_STEPS:
            flags = {"model.learner.init_args.inner_steps": steps, "model.learner.init_args.inner_lr": rate}
            found = measure(checkpoint, config, episodes, flags | {"evaluation.calibration.enabled": "false"})
            print(f"| {steps} | {rate:g} | {shown(found, ['plain'])} |", flush=True)


PARTS = {"values": sweep_values, "steps": sweep_steps}


def sweep(checkpoint: str, config: str, episodes: str = "400", *parts: str) -> None:
    """Print the parts, each with the command and the commit that printed it."""
    state = code_state()  # of the code that is loaded now, not of what it may be hours later
    for part in parts or PARTS:
        PARTS[part](checkpoint, config, int(episodes))
        print(f"\nPrinted by `OMP_NUM_THREADS=1 .venv/bin/python {shlex.join(sys.argv)}` at commit {state}.\n")


if __name__ == "__main__":
    sweep(*sys.argv[1:])
