"""A finished run with its results and a baseline, made once by the commands that users give."""

import shutil
from pathlib import Path

import pytest

from purer_lightning.cli import main

UPDATES = 12


@pytest.fixture(scope="session")
def toy_flags(toy_data: Path, toy_pool: Path) -> list[str]:
    """Flags that shrink the demo's configuration to the toy pool and seconds."""
    return [
        *("--config", "demo.yaml", "--data.dataset", "toy", "--data.root", str(toy_data), "--data.pool", str(toy_pool)),
        *("--data.way", "3", "--data.query", "3", "--data.episodes_per_update", "2", "--data.updates_per_epoch", "4"),
        *("--data.validation_episodes", "4", "--data.test_episodes", "12", "--trainer.accelerator", "cpu"),
        *("--model.curriculum.warm_up", "4", "--model.curriculum.patience", "2", "--synthesis.initial_steps", "2"),
        *("--trainer.max_steps", str(UPDATES), "--trainer.enable_progress_bar", "false"),
    ]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, toy_flags: list[str]) -> Path:
    """A run with its own test, without and with ICFIL, and a random start's beside it. Not to be changed."""
    run = tmp_path_factory.mktemp("finished") / "eci"
    main(["fit", *toy_flags, "--run", str(run)])
    main(["test", *toy_flags, "--ckpt_path", str(run / "checkpoints" / "best.ckpt")])
    main(["test", *toy_flags, "--run", str(run / "random_start"), "--evaluation.calibration.enabled", "false"])
    return run


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    without_weights = shutil.ignore_patterns("*.ckpt")
    return Path(shutil.copytree(finished_run, tmp_path / "runs" / "eci", ignore=without_weights))
