r"""Scores meta-models in float32 and in bfloat16 on the same episodes of meta-val; prints what is kept in precision.md.

OMP_NUM_THREADS=1 .venv/bin/python experiments/precision.py EPISODES CONFIG CHECKPOINT [CONFIG CHECKPOINT ...] \
  > experiments/precision.md
"""

import contextlib
import csv
import shlex
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from formatting import markdown, percent
from purer_lightning.cli import main
from purer_lightning.evaluation.metrics import interval
from purer_lightning.running.names import EPISODES
from run import code_state

WHOLE, HALF = "32-true", "bf16-mixed"


def scored(config: str, checkpoint: str, episodes: int, precision: str) -> dict[str, Tensor]:
    """Return the accuracy on each episode of meta-val, 0 to 1, by method."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["validate", "--config", config, "--ckpt_path", checkpoint, "--run", folder]
        words += ["--data.validation_episodes", str(episodes), "--trainer.precision", precision]
        with contextlib.redirect_stdout(sys.stderr):
            main([*words, "--trainer.enable_progress_bar", "false"])
        with (Path(folder) / "validate" / EPISODES).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    methods = [name for name in rows[0] if name != "episode"]
    return {method: torch.tensor([float(row[method]) for row in rows]) for method in methods}


def compared(config: str, checkpoint: str, episodes: int) -> list[list[str]]:
    """Return the table's lines of one meta-model, one a method."""
    whole, half = (scored(config, checkpoint, episodes, precision) for precision in (WHOLE, HALF))
    lines = []
    for method in whole:
        difference = half[method] - whole[method]
        differ = f"{int((difference != 0).sum())} of {len(difference)}"
        cells = (interval(values)._asdict() for values in (whole[method], difference))
        lines.append([config, method, *map(percent, cells), differ])
    return lines


def report(episodes: int, words: list[str]) -> None:
    """Print the table, then the command and the commit that printed it."""
    state = code_state()  # of the code that is loaded now
    lines = [
        line for config, checkpoint in list(pairwise(words))[::2] for line in compared(config, checkpoint, episodes)
    ]
    print(f"The same {episodes} episodes of meta-val in {WHOLE} and in {HALF}, accuracy in %.\n")
    print(markdown(["configuration", "method", "float32", "bfloat16 - float32, paired", "episodes that differ"], lines))
    print(f"\nPrinted by `OMP_NUM_THREADS=1 .venv/bin/python {shlex.join(sys.argv)}` at commit {state}.")


if __name__ == "__main__":
    report(int(sys.argv[1]), sys.argv[2:])
