"""No meta-train, meta-val or meta-test image reaches training: poisoned or missing, they change none of its bits."""

import csv
import math
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from purer_lightning.cli import main
from purer_lightning.data.real_episodes import RealEpisodes
from purer_lightning.episode import Episode

UPDATES = 4
SWITCH = ["--model.curriculum.warm_up", "1", "--model.curriculum.patience", "1"]  # images are made harder, too
RUNNING = ["--model.learner.init_args.batchnorm", "running", "--model.learner.init_args.outputs"]
BATCH = ["--model.objective.init_args.batch_size"]
# The ways to train a meta-model, each with what makes it small here.
METHODS = {
    "eci": SWITCH,
    "joint": [*SWITCH, *RUNNING, "8", "--model.objective", "Joint", *BATCH, "16"],
    "distillation": [*SWITCH, *RUNNING, "9", "--model.objective", "Distillation", *BATCH, "16"],
}


class Run(NamedTuple):
    """A finished run with the data set as it is."""

    flags: list[str]
    folder: Path
    trained: dict[str, torch.Tensor]


@pytest.fixture(scope="module", params=METHODS)
def true_run(
    request: pytest.FixtureRequest, toy_data: Path, toy_pool: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    flags, folder = METHODS[request.param], tmp_path_factory.mktemp("true") / "run"
    return Run(flags, folder, trained(fit(toy_data, toy_pool, folder, flags)))


def fit(root: Path, pool: Path, run: Path, flags: list[str]) -> dict[str, Any]:
    """Train through the command line, with a validation after every second update; return the last checkpoint."""
    where = ["--data.dataset", "toy", "--data.root", str(root), "--data.pool", str(pool), "--run", str(run)]
    small = ["--data.way", "3", "--data.query", "3", "--data.updates_per_epoch", "2", "--data.validation_episodes", "2"]
    steps = ["--synthesis.initial_steps", "2", "--trainer.max_steps", str(UPDATES)]
    quiet = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    main(["fit", "--config", "demo.yaml", *where, *small, *steps, *quiet, *flags])
    checkpoint: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint


def trained(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """What training made: the meta-model and the bank."""
    weights: dict[str, torch.Tensor] = checkpoint["state_dict"]
    return weights | {"the bank": checkpoint["callbacks"]["SynthesisCallback"]["images"]}


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].isfinite().all(), name
        assert torch.equal(found[name], value), name


def copy_of(toy_data: Path, folder: Path) -> Path:
    """Copy the prepared data set, so that it can be poisoned; return the new root."""
    shutil.copytree(toy_data / "toy", folder / "data" / "toy")
    return folder / "data"


def poison(root: Path, split: str, seed: int = 0) -> None:
    """Replace a split's pictures by noise of zeros and full whites."""
    file = root / "toy" / f"{split}.npy"
    noise = np.random.default_rng(seed).integers(0, 2, np.load(file).shape) * 255
    np.save(file, noise.astype(np.uint8))


def validation(run: Path) -> list[float]:
    with (run / "metrics.csv").open() as file:
        return [float(row["val/accuracy"]) for row in csv.DictReader(file) if row["val/accuracy"]]


def test_training_is_the_same_without_meta_train_and_meta_test_and_with_noise_for_meta_val(
    true_run: Run, toy_data: Path, toy_pool: Path, tmp_path: Path
) -> None:
    root = copy_of(toy_data, tmp_path)
    for split in ("train", "test"):
        (root / "toy" / f"{split}.npy").unlink()
    poison(root, "val")
    assert_same(trained(fit(root, toy_pool, tmp_path / "run", true_run.flags)), true_run.trained)


def test_training_is_the_same_where_every_real_image_is_nan(
    true_run: Run, toy_data: Path, toy_pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = RealEpisodes.__getitem__

    def nan_images(self: RealEpisodes, index: int) -> Episode:
        episode = drawn(self, index)
        return episode._replace(support=episode.support * math.nan, query=episode.query * math.nan)

    monkeypatch.setattr(RealEpisodes, "__getitem__", nan_images)
    assert_same(trained(fit(toy_data, toy_pool, tmp_path / "run", true_run.flags)), true_run.trained)
    assert not any(math.isnan(accuracy) for accuracy in validation(true_run.folder))
    assert all(math.isnan(accuracy) for accuracy in validation(tmp_path / "run"))  # the poison was there


def test_the_poison_is_seen_where_training_does_use_real_images(toy_data: Path, toy_pool: Path, tmp_path: Path) -> None:
    real = ["--synthesis.source", "real", "--synthesis.initial_steps", "0", "--model.data_step_every", "0"]
    real += ["--model.curriculum.enabled", "false"]
    root = copy_of(toy_data, tmp_path)
    poison(root, "train")
    found = fit(root, toy_pool, tmp_path / "poisoned", real)["state_dict"]
    wanted = fit(toy_data, toy_pool, tmp_path / "true", real)["state_dict"]
    assert not torch.equal(found["learner.network.head.weight"], wanted["learner.network.head.weight"])
