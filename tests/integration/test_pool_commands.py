"""`purer pool` and `purer data` from the command line."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from purer_lightning.cli import main


def test_a_users_own_state_dict_enters_a_pool_and_is_meta_trained_on(
    toy_data: Path, toy_pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    described = json.loads((toy_pool / "pool.json").read_text())
    for number, teacher in enumerate(described["teachers"]):
        weights = tmp_path / f"mine_{number}.pth"
        torch.save(load_file(toy_pool / teacher["file"]), weights)
        about = ["--architecture", "conv4", "--dataset", "toy", "--image_size", "16", "--channels", "3"]
        classes = [f"--class_names={json.dumps(teacher['class_names'])}"]
        pixels = [f"--{name}={json.dumps(described['normalisation'][name])}" for name in ("mean", "std")]
        main(["pool", "add", "--pool", str(tmp_path / "own"), "--weights", str(weights), *about, *classes, *pixels])
    main(["pool", "check", str(tmp_path / "own")])
    assert capsys.readouterr().out.count(" ok ") == 3
    where = ["--data.dataset", "toy", "--data.root", str(toy_data), "--data.pool", str(tmp_path / "own")]
    small = ["--data.way", "3", "--data.query", "3", "--trainer.max_steps", "1", "--data.validation_episodes", "2"]
    run = tmp_path / "run"
    main(["fit", "--config", "demo.yaml", *where, *small, "--data.updates_per_epoch", "1", "--run", str(run)])
    assert (run / "checkpoints" / "best.ckpt").exists()


def test_a_prepared_data_set_is_not_prepared_again(toy_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (toy_data / "toy" / "dataset.json").stat().st_mtime_ns
    source = ["--source", str(toy_data / "pictures"), "--name", "toy", "--image_size", "16"]
    main(["data", "prepare", "folder", *source, "--root", str(toy_data)])
    assert "nothing to do" in " ".join(capsys.readouterr().err.split())
    assert (toy_data / "toy" / "dataset.json").stat().st_mtime_ns == before
