"""One training that is logged by W&B, offline: stopped halfway, gone on with, then tested."""

from pathlib import Path
from typing import NamedTuple

import pytest

from purer_lightning.cli import main

HALF, WHOLE = 6, 12  # updates


class Tracked(NamedTuple):
    """A training that was stopped halfway and gone on with, then tested: a run folder and its starts in W&B."""

    folder: Path
    starts: list[Path]
    said: str


@pytest.fixture(scope="session")
def flags(toy_data: Path, toy_pool: Path) -> list[str]:
    where = ["--data.dataset", "toy", "--data.root", str(toy_data), "--data.pool", str(toy_pool)]
    small = ["--data.way", "3", "--data.query", "3", "--data.episodes_per_update", "2", "--data.updates_per_epoch", "2"]
    episodes = ["--data.validation_episodes", "2", "--data.test_episodes", "4", "--synthesis.initial_steps", "2"]
    switch = ["--model.curriculum.warm_up", "4", "--model.curriculum.patience", "2"]
    quiet = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    return [*where, *small, *episodes, *switch, *quiet]


@pytest.fixture(scope="session")
def tracked(tmp_path_factory: pytest.TempPathFactory, flags: list[str]) -> Tracked:
    folder = tmp_path_factory.mktemp("runs") / "a run"
    shown = ["--wandb.enabled", "true", "--wandb.tags", "[toy]"]
    fit = ["fit", "--config", "demo.yaml", *flags, *shown, "--run", str(folder)]
    last = ["--ckpt_path", str(folder / "checkpoints" / "last.ckpt")]
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("purer_lightning.running.tracking.run.rank_zero_info", lines.append)
        main([*fit, "--trainer.max_steps", str(HALF)])
        main([*fit, "--trainer.max_steps", str(WHOLE), *last])
        main(["test", "--config", "demo.yaml", *flags, *shown, *last])
    return Tracked(folder, sorted(folder.glob("wandb/offline-run-*/*.wandb")), "\n".join(lines))
