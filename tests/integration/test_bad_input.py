"""Mistakes at the front door: each ends in one sentence that names the thing and the remedy, and in status 1 or 2."""

import json
import shutil
from pathlib import Path

import pytest

from cli_errors import complaint
from purer_lightning.cli import main


@pytest.fixture
def toy(toy_data: Path, toy_pool: Path, tmp_path: Path) -> list[str]:
    where = ["--data.dataset", "toy", "--data.root", str(toy_data), "--data.pool", str(toy_pool)]
    small = ["--data.way", "3", "--data.query", "3", "--trainer.max_steps", "1", "--data.validation_episodes", "2"]
    return ["fit", "--config", "demo.yaml", *where, *small, "--run", str(tmp_path / "run")]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fitt"], "Did you mean 'fit'?"),
        (["pool", "chek"], "Did you mean 'check'?"),
        (["fit", "--config", "cifar_fs_smal.yaml"], "Did you mean 'cifar_fs_small.yaml'?"),
        (["test", "--config=nothing_like_it"], "demo.yaml"),
    ],
)
def test_an_unknown_command_or_configuration_names_the_nearest(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in complaint(capsys, words)


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--data.wya", "Did you mean 'data.way'?"),
        ("--model.imge_lr", "Did you mean 'model.image_lr'?"),
        ("--model.curriculum.warmup", "Did you mean 'warm_up'?"),
        ("--model.learner.init_args.inner_step", "Did you mean 'inner_steps'?"),
        ("--evaluation.calibration.temprature", "Did you mean 'temperature'?"),
        ("--trainer.max_stepss", "Did you mean 'trainer.max_steps'?"),
    ],
)
def test_a_misspelt_flag_names_the_nearest_key(
    flag: str, expected: str, toy: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in complaint(capsys, [*toy, flag, "3"], status=2)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--data.way", "five"], "Expected data.way to be a whole number, but got 'five'."),
        (["--wandb.enabled", "yess"], "Expected wandb.enabled to be true or false, but got 'yess'."),
        (
            ["--wandb.mode", "on-line"],
            "Expected wandb.mode to be auto, online or offline, but got 'on-line'. Did you mean 'online'?",
        ),
        (
            ["--trainer.precision", "bf16-mix"],
            "bf16-mixed, 32-true, 64-true, bf16 or null, but got 'bf16-mix'.",
        ),
        (["--seed_everything", "x"], "Expected seed_everything to be true or false or a whole number, but got 'x'."),
        (
            ["--model.learner.init_args.inner_lr", "fast"],
            "Expected model.learner.inner_lr to be a number, but got 'fast'.",
        ),
        (["--model.learner", "Mamml"], "Expected model.learner to be a class,"),
        (
            ["--model.learner.class_path", "purer_lightning.learners.Mamml"],
            "There is no class 'Mamml' in purer_lightning.learners. Did you mean 'Maml'?",
        ),
        (["--data.way"], "Expected a value after --data.way, but found none."),
    ],
)
def test_a_value_of_a_wrong_kind_is_told_what_it_should_be(
    flags: list[str], expected: str, toy: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in complaint(capsys, [*toy, *flags], status=2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fit"], "Missing: model.learner; give a configuration by --config"),
        (["adapt"], "Missing: ckpt_path, support; --help explains"),
        (["report"], "Missing: runs;"),
        (
            ["adapt", "--ckpt_path", "x", "--support", "x", "--batchnorm", "runing"],
            "to be transductive, support, running or null, but got 'runing'. Did you mean 'running'?",
        ),
    ],
)
def test_what_is_missing_or_unknown_to_a_command_is_named(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in complaint(capsys, words, status=2)


def test_a_data_set_that_no_reader_is_for_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = complaint(capsys, ["data", "prepare", "nothing"])
    assert "Expected one of the data sets cifar_fs, folder, glyphs, omniglot, but got 'nothing'." in sentence


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("data:\n  wya: 3\n", "Did you mean 'data.way'?"),
        ("modl:\n  image_lr: 3\n", "Did you mean 'model'?"),
        ("model:\n  curriculum:\n    patiense: 3\n", "Did you mean 'patience'?"),
    ],
)
def test_a_misspelt_key_in_a_file_names_the_nearest_key(
    yaml: str, expected: str, toy: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml)
    assert expected in complaint(capsys, [*toy, "--config", str(file)], status=2)


def test_a_misspelt_option_of_a_plain_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'epochs'?" in complaint(capsys, ["pretrain", "--epohcs", "3"], status=2)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--data.way", "99"], "lower data.way"),
        (["--data.images_per_class", "3"], "shot + query = 1 + 3 = 4"),
        (["--data.dataset", "missing"], "purer data prepare"),
        (["--data.pool", "missing"], "purer pretrain"),
        (["--data.updates_per_epoch", "0"], "data.updates_per_epoch to be at least 1"),
        (["--data.episodes_per_update", "0"], "data.episodes_per_update to be at least 1"),
        (["--trainer.accumulate_grad_batches", "2"], "trainer"),
        (["--trainer.num_nodes", "0"], "settings of trainer"),
        (["--trainer.devices", "-1", "--trainer.accelerator", "cpu"], "settings of trainer"),
        (["--trainer.check_val_every_n_epoch", "0"], "trainer.check_val_every_n_epoch is 0"),
        (["--model.meta_lr", "-1"], "model.meta_lr to be 0 or more, but got -1"),
        (["--model.image_lr", ".nan"], "model.image_lr to be 0 or more, but got nan"),
        (["--model.data_step_every", "-1"], "model.data_step_every to be 0 or more, but got -1"),
        (["--model.curriculum.weight", "-10"], "model.curriculum.weight to be 0 or more, but got -10"),
        (["--model.curriculum.patience", "-1"], "model.curriculum.patience to be 0 or more, but got -1"),
        (["--model.inversion.feature", "-0.01"], "model.inversion.feature to be 0 or more, but got -0.01"),
        (["--model.learner.init_args.inner_steps", "-1"], "to be 0 or more, but got -1, -1 and 0.1"),
        (["--data.num_workers", "-1"], "data.num_workers to be at least 0, but got -1"),
        (["--gallery.images", "0"], "gallery.images to be at least 1, but got 20 and 0"),
        (["--model.meta_lr", "1e30", "--trainer.max_steps", "3"], "diverged"),
        (["--model.learner.init_args.architecture", "conv5"], "Did you mean 'conv4'?"),
        (["--model.learner.init_args.batchnorm", "running"], "'transductive' or 'support'"),
        (["--model.learner.init_args.arguments", "{depth: 3}"], "do not fit conv4"),
    ],
)
def test_a_setting_that_cannot_be_met_says_what_to_change(
    flags: list[str], expected: str, toy: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in complaint(capsys, [*toy, *flags])


@pytest.mark.parametrize("command", ["fit", "test"])
@pytest.mark.parametrize(
    "flags",
    [["--data.pool", "missing"], ["--data.dataset", "missing"], ["--data.way", "99"], ["--data.num_workers", "-1"]],
)
def test_a_command_that_cannot_begin_leaves_nothing_behind(
    command: str, flags: list[str], toy: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complaint(capsys, [command, *toy[1:], *flags])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").mkdir()
    complaint(capsys, [command, *toy[1:], *flags])
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


def test_a_pool_that_has_seen_the_validation_classes_is_refused(
    toy: list[str], toy_data: Path, toy_pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = tmp_path / "pool"
    shutil.copytree(toy_pool, pool)
    unseen = json.loads((toy_data / "toy" / "dataset.json").read_text())["splits"]["val"]["class_names"]
    described = json.loads((pool / "pool.json").read_text())
    described["teachers"][0]["class_names"][0] = unseen[0]
    (pool / "pool.json").write_text(json.dumps(described))
    sentence = complaint(capsys, ["validate", *toy[1:], "--data.pool", str(pool)])
    assert unseen[0] in sentence
    assert "new to the pool" in sentence


def test_results_are_not_overwritten(toy: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run" / "validate").mkdir(parents=True)
    (tmp_path / "run" / "validate" / "results.json").write_text("kept")
    assert "already holds results" in complaint(capsys, ["validate", *toy[1:]])


def test_way_above_the_validation_classes_is_refused_before_training(
    toy: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "way" in complaint(capsys, [*toy, "--data.way", "5"])
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_an_unwritable_run_folder_is_named(toy: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    sentence = complaint(capsys, [*toy, "--run", str(tmp_path / "file" / "run")])
    assert str(tmp_path / "file" / "run") in sentence
    assert "--run" in sentence


def test_a_second_run_does_not_overwrite_the_first(
    toy: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.csv").write_text("kept")
    assert "--ckpt_path" in complaint(capsys, toy)
    assert (tmp_path / "run" / "metrics.csv").read_text() == "kept"


def test_a_checkpoint_of_another_network_is_refused_in_one_sentence(
    toy: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*toy, "--trainer.enable_progress_bar", "false"])
    wider = ["--model.learner.init_args.arguments", "{width: 8}"]
    checkpoint = ["--ckpt_path", str(tmp_path / "run" / "checkpoints" / "last.ckpt")]
    words = ["test", *toy[1:], *wider, *checkpoint]
    assert "model.learner.init_args.arguments" in complaint(capsys, words)


def test_a_pool_for_another_image_size_than_the_data_is_refused(
    toy: list[str], toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["--source", str(toy_data / "pictures"), "--name", "large", "--image_size", "20"]
    main(["data", "prepare", "folder", *source, "--root", str(tmp_path)])
    sentence = complaint(capsys, [*toy, "--data.dataset", "large", "--data.root", str(tmp_path)])
    assert "3 x 16 x 16" in sentence
    assert "3 x 20 x 20" in sentence


def test_outside_of_a_job_nothing_is_said_of_srun(toy: list[str], recwarn: pytest.WarningsRecorder) -> None:
    main([*toy, "--trainer.enable_progress_bar", "false"])
    assert not [str(warning.message) for warning in recwarn if "srun" in str(warning.message)]
