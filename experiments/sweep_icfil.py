"""Sweeps ICFIL's free values on meta-val and prints the table that is kept in icfil_sweep.md.

OMP_NUM_THREADS=1 .venv/bin/python experiments/sweep_icfil.py CHECKPOINT CONFIG [EPISODES] > experiments/icfil_sweep.md
"""

import contextlib
import json
import shlex
import sys
import tempfile
from pathlib import Path

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


def measure(checkpoint: str, config: str, episodes: int, setting: dict[str, float]) -> dict[str, dict[str, float]]:
    """Return meta-val's intervals, without and with ICFIL, under one setting."""
    flags = [word for name, value in setting.items() for word in (f"--evaluation.calibration.{name}", str(value))]
    with tempfile.TemporaryDirectory() as folder:
        command = ["validate", "--config", config, "--ckpt_path", checkpoint, "--run", folder]
        quiet = ["--trainer.enable_progress_bar", "false", "--data.validation_episodes", str(episodes)]
        with contextlib.redirect_stdout(sys.stderr):
            main([*command, *quiet, *flags])
        results = json.loads((Path(folder) / "validate" / RESULTS).read_text())
    found: dict[str, dict[str, float]] = results["results"][-1]
    return found


def sweep(checkpoint: str, config: str, episodes: int = 200) -> None:
    """Print one line a setting, then the command and the commit that printed them."""
    state = code_state()  # of the code that is loaded now, not of what it may be hours later
    centre = ", ".join(f"{name} {value:g}" for name, value in CENTRE.items())
    print(f"ICFIL on meta-val, {episodes} episodes, checkpoint of {config}, around {centre}.\n")
    print("| changed | plain | ICFIL | ICFIL - plain, paired |\n|---|---|---|---|")
    for setting in SETTINGS:
        found = measure(checkpoint, config, episodes, CENTRE | setting)
        cells = [found[name] for name in ("plain", "icfil", "icfil_minus_plain")]
        shown = " | ".join(f"{100 * cell['mean']:.2f} ± {100 * cell['ci95']:.2f}" for cell in cells)
        changed = ", ".join(f"{name} {value:g}" for name, value in setting.items()) or "nothing"
        print(f"| {changed} | {shown} |", flush=True)
    print(f"\nPrinted by `OMP_NUM_THREADS=1 .venv/bin/python {shlex.join(sys.argv)}` at commit {state}.")


if __name__ == "__main__":
    sweep(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
