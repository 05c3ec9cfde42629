"""What W&B is told of a run that was told to stop, and of the start that goes on with it."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from purer_lightning.cli import main
from purer_lightning.training import PurerModule
from tracking import wandb_file


def kinds(file: Path) -> list[str]:
    return [str(record.WhichOneof("record_type")) for record in wandb_file.records(file)]


def test_a_run_stopped_in_a_validation_is_preempted_and_goes_on_with_that_at_its_update(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["fit", "--config", "demo.yaml", *flags, "--trainer.max_steps", "4", "--wandb.enabled", "true"]
    words += ["--run", str(tmp_path), "--ckpt_path", "last"]
    validate = PurerModule.validation_step

    def told_to_stop(self: PurerModule, *args: Any) -> None:
        validate(self, *args)
        os.kill(os.getpid(), signal.SIGUSR1)

    with monkeypatch.context() as patch:
        patch.setattr(PurerModule, "validation_step", told_to_stop)
        with pytest.raises(SystemExit) as stopped:
            main(words)
    assert stopped.value.code == 128 + signal.SIGUSR1
    main(words)
    first, second = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert "preempting" in kinds(first)
    assert wandb_file.records(first)[-1].exit.exit_code == 1  # by which W&B takes it for preempted, not finished
    assert "preempting" not in kinds(second)
    assert wandb_file.records(second)[-1].exit.exit_code == 0
    validated = [point for file in (first, second) for point in wandb_file.history(file) if "val/accuracy" in point]
    assert [point["curriculum/step"] for point in validated] == [2, 4]
    assert [point["_step"] for point in validated] == [2, 4]
