"""SynthesisCallback with real images, the ceiling: what the bank holds, what is refused, what a checkpoint keeps."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from purer_lightning.callbacks.synthesis import bring_up_to_date
from purer_lightning.cli import main
from purer_lightning.errors import PurerError
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.inversion.synthesis import RealImages, SynthesisTask
from purer_lightning.pool.manifest import read_manifest
from purer_lightning.training.data_module import PseudoEpisodeDataModule

UPDATES = 4


def make_data(root: Path, pool: Path, query: int = 3) -> PseudoEpisodeDataModule:
    data = PseudoEpisodeDataModule("toy", str(pool), str(root), way=3, shot=1, query=query)
    data.setup("fit")
    return data


def real_bank(data: PseudoEpisodeDataModule) -> ImageBank:
    data.synthesis = RealImages()
    sizes = (data.images_per_class, data.shot, data.query)
    data.synthesis.setup(SynthesisTask(data.teachers, *sizes, data.seed, rate=0.0, root=data.root))
    return data.bank


def fit(root: Path, pool: Path, run: Path, *more: str, updates: int = UPDATES) -> dict[str, Any]:
    """Train on real images and return the last checkpoint."""
    where = ["--data.dataset", "toy", "--data.root", str(root), "--data.pool", str(pool), "--run", str(run)]
    small = ["--data.way", "3", "--data.query", "3", "--data.updates_per_epoch", "2", "--data.validation_episodes", "2"]
    quiet = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    steps = ["--trainer.max_steps", str(updates)]
    main(["fit", "--config", "baselines/real_maml.yaml", *where, *small, *quiet, *steps, *more])
    checkpoint: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint


def tensors(value: object) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from tensors(inner)


def test_the_real_bank_has_every_train_image_of_the_pools_classes_normalised_as_the_pool_is(
    toy_data: Path, toy_pool: Path
) -> None:
    data = make_data(toy_data, toy_pool)
    bank = real_bank(data)
    names = json.loads((toy_data / "toy" / "dataset.json").read_text())["splits"]["train"]["class_names"]
    pictures = np.load(toy_data / "toy" / "train.npy").reshape(len(names), 12, 3, 16, 16)
    mean, std = read_manifest(toy_pool).normalisation
    assert bank.images.dtype == torch.float32
    assert bank.images.shape == (len(data.teachers.classes), 12, 3, 16, 16)
    for row, known in enumerate(data.teachers.classes):
        own = pictures[names.index(known.name)].astype(np.float64) / 255
        wanted = (own - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
        np.testing.assert_allclose(bank.images[row].numpy(), wanted, rtol=0, atol=1e-5)


def test_too_few_real_images_for_an_episode_are_refused(toy_data: Path, toy_pool: Path) -> None:
    data = make_data(toy_data, toy_pool, query=12)
    with pytest.raises(PurerError, match="1 \\+ 12 = 13 distinct images"):
        real_bank(data)


def test_a_class_that_the_train_split_lacks_is_refused_by_name(toy_data: Path, toy_pool: Path, tmp_path: Path) -> None:
    shutil.copytree(toy_data / "toy", tmp_path / "toy")
    data = make_data(tmp_path, toy_pool)
    known = data.teachers.classes[0].name
    record = tmp_path / "toy" / "dataset.json"
    record.write_text(record.read_text().replace(f'"{known}"', '"renamed"'))
    with pytest.raises(PurerError, match=f"lacks '{known}'"):
        real_bank(data)


def test_images_of_another_size_than_the_pools_are_refused(toy_data: Path, toy_pool: Path, tmp_path: Path) -> None:
    source = ["--source", str(toy_data / "pictures"), "--name", "toy", "--image_size", "20", "--root", str(tmp_path)]
    main(["data", "prepare", "folder", *source])
    with pytest.raises(PurerError, match="3 x 20 x 20"):
        real_bank(make_data(tmp_path, toy_pool))


def test_a_run_on_real_images_says_so(
    toy_data: Path, toy_pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = len(make_data(toy_data, toy_pool).teachers.classes)
    checkpoint = fit(toy_data, toy_pool, tmp_path / "run", updates=1)
    sentence = f"Ceiling: trained on the real meta-train images ({classes} classes of 12), not data-free."
    assert sentence in capsys.readouterr().err
    assert "source: real" in (tmp_path / "run" / "config.yaml").read_text()
    assert checkpoint["callbacks"]["SynthesisCallback"] == {"source": "real"}


def test_episodes_are_drawn_from_all_real_images(toy_data: Path, toy_pool: Path) -> None:
    data = make_data(toy_data, toy_pool)
    real_bank(data)
    slots = torch.cat([data.plan(update).meta_batch.slots.flatten() for update in range(50)])
    assert sorted(set(slots.tolist())) == list(range(12))


def test_a_checkpoint_holds_no_real_image(toy_data: Path, toy_pool: Path, tmp_path: Path) -> None:
    checkpoint = fit(toy_data, toy_pool, tmp_path / "run")
    weights = {name: value.shape for name, value in checkpoint["state_dict"].items()}
    largest = max(shape.numel() for shape in weights.values())
    bank = real_bank(make_data(toy_data, toy_pool)).images.numel()
    assert max(tensor.numel() for tensor in tensors(checkpoint)) <= largest < bank


def test_a_resumed_run_on_real_images_ends_with_the_same_bits(toy_data: Path, toy_pool: Path, tmp_path: Path) -> None:
    whole = fit(toy_data, toy_pool, tmp_path / "whole")
    fit(toy_data, toy_pool, tmp_path / "half", updates=2)
    resume = ["--ckpt_path", str(tmp_path / "half" / "checkpoints" / "last.ckpt")]
    resumed = fit(toy_data, toy_pool, tmp_path / "half", *resume)
    for name, value in whole["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], value), name
    with (tmp_path / "whole" / "metrics.csv").open() as file:
        losses = [row["train/outer_loss"] for row in csv.DictReader(file) if row["train/outer_loss"]]
    assert len(set(losses)) == UPDATES


def test_a_checkpoint_of_0_1_0_on_real_images_goes_on_without_its_optimiser_of_images() -> None:
    second: dict[str, Any] = {"state": {}, "param_groups": [{"lr": 0.25, "params": [0, 1]}]}
    old = {"callbacks": {"SynthesisCallback": {"source": "real"}}, "optimizer_states": [{"state": {}}, second]}
    bring_up_to_date(old, "SynthesisCallback")
    assert old == {"callbacks": {"SynthesisCallback": {"source": "real"}}, "optimizer_states": [{"state": {}}]}


@pytest.mark.parametrize(
    "flags",
    [
        ["--model.data_step_every", "1"],
        ["--synthesis.initial_steps", "3"],
        ["--model.curriculum.enabled", "true"],
    ],
)
def test_data_steps_on_real_images_are_refused(
    flags: list[str], toy_data: Path, toy_pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        fit(toy_data, toy_pool, tmp_path / "run", *flags)
    assert "set them to 0, 0 and false" in capsys.readouterr().err


def test_a_run_on_real_images_is_not_resumed_on_inverted_ones(
    toy_data: Path, toy_pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(toy_data, toy_pool, tmp_path / "run", updates=2)
    resume = ["--ckpt_path", str(tmp_path / "run" / "checkpoints" / "last.ckpt"), "--synthesis.source", "pool"]
    with pytest.raises(SystemExit):
        fit(toy_data, toy_pool, tmp_path / "run", *resume)
    assert "synthesis.source 'real'" in capsys.readouterr().err
