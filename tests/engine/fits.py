"""Small runs of `purer fit`, to compare engines by."""

import csv
from pathlib import Path
from typing import Any

import torch

from purer_lightning.cli import main
from purer_lightning.objectives import Episodic

UPDATES = 6


class OwnObjective(Episodic):
    """Might evaluate episodes by any rule."""


def fit(toy_data: Path, toy_pool: Path, run: Path, *more: str, updates: int = UPDATES) -> dict[str, Any]:
    """Train in float64 with the adversarial term, and return the last checkpoint."""
    where = ["--data.dataset", "toy", "--data.root", str(toy_data), "--data.pool", str(toy_pool), "--run", str(run)]
    small = ["--data.way", "3", "--data.query", "3", "--data.updates_per_epoch", "3", "--data.validation_episodes", "2"]
    often = ["--model.curriculum.warm_up", "1", "--model.curriculum.patience", "1", "--trainer.precision", "64-true"]
    quiet = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    steps = ["--trainer.max_steps", str(updates)]
    main(["fit", "--config", "demo.yaml", *where, *small, *often, *quiet, *steps, *more])
    checkpoint: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint


def rows(run: Path) -> list[dict[str, float]]:
    """Return what a run has logged, without the empty columns."""
    with (run / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
