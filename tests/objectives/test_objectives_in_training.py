"""Objectives, data steps and the schedule through the command line: what a run does, and that it can be resumed."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer

from purer_lightning.cli import main
from purer_lightning.learners import FeatureClassifier
from purer_lightning.objectives import Distillation
from purer_lightning.pool.teachers import load_pool
from purer_lightning.training import PurerModule
from purer_lightning.training.data_module import PseudoEpisodeDataModule

UPDATES = 10
STUDENT = (
    *("--model.learner", "purer_lightning.learners.FeatureClassifier"),
    *("--model.learner.init_args.arguments", "{width: 4}", "--model.learner.init_args.batchnorm", "running"),
)
# Periods of six updates; the switch fires after the third and the sixth.
DISTILLATION = (
    *(*STUDENT, "--model.learner.init_args.outputs", "9"),
    *("--model.objective", "purer_lightning.objectives.Distillation", "--model.objective.init_args.batch_size", "4"),
    *("--model.objective.init_args.judged_batches", "3", "--model.objective.init_args.reuse", "2"),
    *("--model.curriculum.warm_up", "3", "--model.curriculum.patience", "3"),
)
EI = ("--model.curriculum.enabled", "false")


@pytest.fixture
def flags(toy_data: Path, toy_pool: Path) -> list[str]:
    """Flags that shrink the demo's configuration to the toy pool and to parts of a second."""
    return [
        *("--config", "demo.yaml", "--data.dataset", "toy", "--data.root", str(toy_data)),
        *("--data.pool", str(toy_pool), "--data.way", "3", "--data.query", "2", "--data.episodes_per_update", "2"),
        *("--data.updates_per_epoch", "4", "--data.validation_episodes", "2", "--synthesis.initial_steps", "2"),
        *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--model.meta_lr", "0.01"),
    ]


def fit(run: Path, flags: list[str], *more: str, updates: int = UPDATES) -> Path:
    main(["fit", *flags, "--trainer.max_steps", str(updates), "--run", str(run), *more])
    return run


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def column(run: Path, key: str) -> list[float]:
    return [float(row[key]) for row in rows(run) if row[key]]


def state(run: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(last(run), weights_only=True)
    return loaded


def last(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"


def bank_of(run: Path) -> torch.Tensor:
    images: torch.Tensor = state(run)["callbacks"]["SynthesisCallback"]["images"]
    return images


def complaint(capsys: pytest.CaptureFixture[str], run: Path, flags: list[str], *more: str, updates: int = 2) -> str:
    with pytest.raises(SystemExit) as stopped:
        fit(run, flags, *more, updates=updates)
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.splitlines()[-1]


@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_a_distillation_resumed_in_the_midst_of_a_period_ends_with_the_same_bits(
    schedule: str, flags: list[str], tmp_path: Path
) -> None:
    settings = (*DISTILLATION, "--model.meta_schedule", schedule)
    whole = fit(tmp_path / "whole", flags, *settings)
    half = fit(tmp_path / "half", flags, *settings, "--trainer.max_epochs", "2")  # 8 updates, 2 into the period
    assert state(half)["global_step"] == 8
    fit(half, flags, *settings, "--ckpt_path", "last")
    found, wanted = state(half), state(whole)
    assert found["global_step"] == wanted["global_step"] == UPDATES
    for part in ("state_dict", "objective"):
        assert found[part].keys() == wanted[part].keys()
        for name, value in wanted[part].items():
            assert torch.equal(found[part][name], value), name
    assert found["curriculum"] == wanted["curriculum"]
    assert found["lr_schedulers"] == wanted["lr_schedulers"]
    assert torch.equal(bank_of(half), bank_of(whole))
    assert (half / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


def test_adversarial_data_steps_move_the_bank_and_no_batchnorm_of_the_meta_model(
    flags: list[str], tmp_path: Path
) -> None:
    run = fit(tmp_path / "run", flags, *DISTILLATION, "--model.data_step_every", "0", updates=5)
    assert column(run, "curriculum/switch") == [0, 0, 0, 1, 0]
    counted = [value for name, value in state(run)["state_dict"].items() if name.endswith("num_batches_tracked")]
    assert [int(value) for value in counted] == [5] * 4
    without = fit(tmp_path / "without", flags, *DISTILLATION, "--model.data_step_every", "0", *EI, updates=5)
    assert column(run, "curriculum/difficulty")[:3] == column(without, "curriculum/difficulty")[:3]
    assert not torch.equal(bank_of(run), bank_of(without))


def test_one_cycle_moves_the_meta_models_rate_and_not_that_of_the_images(flags: list[str], tmp_path: Path) -> None:
    run = fit(tmp_path / "run", flags, *DISTILLATION, "--model.meta_schedule", "one_cycle", updates=4)
    optimizers = [*state(run)["optimizer_states"], state(run)["callbacks"]["SynthesisCallback"]["optimizer"]]
    meta, images = (saved["param_groups"][0]["lr"] for saved in optimizers)
    assert meta < 1e-4 * 0.01
    assert images == 0.1
    constant = fit(tmp_path / "constant", flags, *DISTILLATION, updates=1)
    assert state(constant)["optimizer_states"][0]["param_groups"][0]["lr"] == 0.01


def test_joint_training_classifies_all_classes_of_the_pool(flags: list[str], toy_pool: Path, tmp_path: Path) -> None:
    classes = len(load_pool(toy_pool).classes)
    joint = (*STUDENT, "--model.learner.init_args.outputs", str(classes), *EI)
    objective = ("--model.objective", "purer_lightning.objectives.Joint", "--model.objective.init_args.batch_size", "8")
    run = fit(tmp_path / "run", flags, *joint, *objective, updates=4)
    assert column(run, "curriculum/step") == [1, 2, 3, 4]
    assert state(run)["state_dict"]["learner.network.head.weight"].shape[0] == classes
    assert state(run)["objective"] == {}


def test_every_third_update_moves_the_images_and_each_that_the_switch_has_fired_for(
    flags: list[str], tmp_path: Path
) -> None:
    switch = ("--model.curriculum.warm_up", "5", "--model.curriculum.patience", "99")
    run = fit(tmp_path / "run", flags, "--model.data_step_every", "3", *switch, updates=8)
    fired = [int(float(row["curriculum/step"])) - 1 for row in rows(run) if row["curriculum/switch"] == "1.0"]
    assert fired == [5]
    for key in ("total", "class", "feature", "total_variation", "l2"):
        with_term = [row for row in rows(run) if row[f"inversion/{key}"]]
        assert [int(float(row["curriculum/step"])) - 1 for row in with_term] == [0, 3, 5, 6]


def test_without_data_steps_the_images_stay_as_the_initial_inversion_left_them(
    flags: list[str], tmp_path: Path
) -> None:
    never = ("--model.data_step_every", "0", *EI)
    short, long = (fit(tmp_path / str(updates), flags, *never, updates=updates) for updates in (1, 5))
    assert torch.equal(bank_of(short), bank_of(long))
    assert not any(key.startswith("inversion/") for key in rows(long)[0])
    other = fit(tmp_path / "moved", flags, *EI, updates=1)
    assert not torch.equal(bank_of(short), bank_of(other))


def test_the_terms_of_a_first_data_step_late_in_a_run_are_logged_too(flags: list[str], tmp_path: Path) -> None:
    switch = ("--model.curriculum.warm_up", "2", "--model.curriculum.patience", "99")
    run = fit(tmp_path / "run", flags, "--model.data_step_every", "0", *switch, updates=4)
    with_term = [int(float(row["curriculum/step"])) - 1 for row in rows(run) if row["inversion/total"]]
    assert with_term == [2]
    assert column(run, "curriculum/step") == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("--model.learner.init_args.outputs", "3"), "but it has 3; set model.learner.init_args.outputs to 9"),
        (("--model.learner.init_args.batchnorm", "support"), "set model.learner.init_args.batchnorm to running"),
        (("--model.objective.init_args.augmentation.shift", "16"), "augmentation.shift to be below the images' 16"),
        (("--model.meta_schedule", "one_cycle", "--trainer.max_steps", "-1"), "trainer.max_steps is -1; set it"),
    ],
)
def test_a_distillation_that_cannot_be_trained_says_what_to_change(
    settings: tuple[str, ...], expected: str, flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in complaint(capsys, tmp_path / "run", flags, *DISTILLATION, *settings)


def test_a_resumed_run_does_not_change_its_schedule_on_the_way(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit(tmp_path / "run", flags, *DISTILLATION, "--model.meta_schedule", "one_cycle", updates=1)
    resume = ("--ckpt_path", str(last(run)))
    assert "one_cycle over 1 updates" in complaint(capsys, run, flags, *DISTILLATION, *resume)


def test_a_checkpoint_from_before_there_were_objectives_and_schedules_can_be_resumed(
    flags: list[str], tmp_path: Path
) -> None:
    run = fit(tmp_path / "run", flags, *DISTILLATION, updates=2)
    older = state(run)
    del older["objective"]
    torch.save(older, last(run))
    fit(run, flags, *DISTILLATION, "--ckpt_path", str(last(run)), updates=3)
    assert state(run)["global_step"] == 3
    assert state(run)["objective"]["images"].shape[0] == 12


def test_a_trainer_that_only_validates_needs_no_pool_for_the_objective(
    toy_data: Path, toy_pool: Path, tmp_path: Path
) -> None:
    data = PseudoEpisodeDataModule("toy", str(toy_pool), str(toy_data), way=3, query=2, validation_episodes=2)
    module = PurerModule(FeatureClassifier(batchnorm="running", outputs=9), objective=Distillation())
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", inference_mode=False, default_root_dir=tmp_path, **quiet)
    (found,) = trainer.validate(module, datamodule=data, verbose=False)
    assert 0 <= found["val/accuracy"] <= 1
