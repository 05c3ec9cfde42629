"""A run that goes on elsewhere: with other settings, which it lists, or in a folder that was moved."""

import csv
from pathlib import Path

import pytest
import torch
import yaml

from purer_lightning.cli import main


@pytest.fixture
def words(toy_data: Path, toy_pool: Path, tmp_path: Path) -> list[str]:
    """A fit of two updates."""
    return [
        *("fit", "--config", "demo.yaml", "--data.dataset", "toy", "--data.root", str(toy_data)),
        *("--data.pool", str(toy_pool), "--data.way", "2", "--data.query", "1", "--data.episodes_per_update", "2"),
        *("--data.updates_per_epoch", "2", "--data.validation_episodes", "2", "--synthesis.initial_steps", "1"),
        *("--model.curriculum.enabled", "false", "--trainer.accelerator", "cpu", "--trainer.max_steps", "2"),
        *("--model.learner.init_args.arguments", "{width: 4}", "--trainer.enable_progress_bar", "false"),
        *("--run", str(tmp_path / "run"), "--ckpt_path", "last"),
    ]


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what ours said on standard error, from its first line of differences on."""
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if line.startswith(("purer: ", "  "))]


def test_settings_that_differ_are_listed_and_the_command_lines_win(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(words)
    said(capsys)
    changed = ["--model.meta_lr", "0.5", "--synthesis.initial_steps", "7", "--trainer.max_steps", "4"]
    main([*words, *changed])
    assert said(capsys) == [
        "purer: 3 settings are not as in the checkpoint's run; the command line wins:",
        "  model.meta_lr: 0.5, was 0.003",
        "  synthesis.initial_steps: 7, was 1 (comes too late)",
        "  trainer.max_steps: 4, was 2",
    ]
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["settings"]["model.meta_lr"] == 0.5
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == 0.5
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["0", "1", "1", "2", "3", "3"]


def test_a_finished_run_says_that_nothing_is_left_and_no_difference(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(words)
    said(capsys)
    main(words)
    assert said(capsys) == [
        "purer: The run has made 2 updates of 2, so none is left; raise trainer.max_steps to train on, or name another "
        "folder with --run for a new run."
    ]


def test_what_cannot_change_is_refused_after_the_list(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(words)
    logged = (tmp_path / "run" / "metrics.csv").read_bytes()
    said(capsys)
    with pytest.raises(SystemExit):
        main([*words, "--data.images_per_class", "5", "--trainer.max_steps", "4"])
    first, *_, last = said(capsys)
    assert "2 settings are not as in the checkpoint's run" in first
    assert "The checkpoint's image bank has shape" in last
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == logged


def test_a_negative_interval_of_data_steps_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*words, "--model.data_step_every", "-1"])
    assert "purer: Expected model.data_step_every to be 0 or more, but got -1." in said(capsys)


def test_a_run_whose_folder_was_moved_still_knows_its_best_checkpoint(words: list[str], tmp_path: Path) -> None:
    main(words)
    run, moved = tmp_path / "run", tmp_path / "moved"
    run.rename(moved)
    last, best = moved / "checkpoints" / "last.ckpt", moved / "checkpoints" / "best.ckpt"
    unbeaten = torch.load(last, weights_only=True)
    (state,) = [state for name, state in unbeaten["callbacks"].items() if name.startswith("ModelCheckpoint")]
    score = torch.tensor(2.0)
    state |= {"best_model_score": score, "kth_value": score, "best_k_models": {state["best_model_path"]: score}}
    torch.save(unbeaten, last)
    found = best.read_bytes()
    main([*words, "--run", str(moved), "--trainer.max_steps", "4"])
    assert torch.load(last, weights_only=True)["global_step"] == 4
    assert best.read_bytes() == found


def test_a_checkpoint_of_another_run_does_not_go_on_in_a_folder_that_holds_one(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(words)
    elsewhere = tmp_path / "another" / "checkpoints" / "last.ckpt"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_bytes((tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes())
    logged = (tmp_path / "run" / "metrics.csv").read_bytes()
    said(capsys)
    with pytest.raises(SystemExit):
        main([*words, "--ckpt_path", str(elsewhere), "--trainer.max_steps", "4"])
    assert f"The folder '{tmp_path / 'run'}' already holds a run" in said(capsys)[-1]
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == logged


def updates_made(run: Path) -> int:
    return int(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"])


def test_a_run_goes_on_for_longer_from_its_own_configuration(words: list[str], tmp_path: Path) -> None:
    main([*words, "--trainer.max_steps", "1"])
    run = tmp_path / "run"
    asked = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert (asked["trainer"]["max_epochs"], asked["data"]["updates_per_epoch"]) == (None, 2)
    main(["fit", "--config", str(run / "config.yaml"), "--trainer.max_steps", "4"])
    assert updates_made(run) == 4


def test_a_run_begins_anew_elsewhere_from_anothers_configuration(words: list[str], tmp_path: Path) -> None:
    main(words)
    config, elsewhere = tmp_path / "run" / "config.yaml", tmp_path / "elsewhere"
    before = config.read_bytes()
    main(["fit", "--config", str(config), "--run", str(elsewhere), "--trainer.max_steps", "1"])
    assert (updates_made(elsewhere), updates_made(tmp_path / "run")) == (1, 2)
    assert config.read_bytes() == before
    paths = ("ckpt_path", "trainer.default_root_dir", "checkpoint.dirpath")
    asked = yaml.safe_load((elsewhere / "config.yaml").read_text(encoding="utf-8"))
    found = [asked["ckpt_path"], *(asked[group][name] for group, name in (path.split(".") for path in paths[1:]))]
    assert found == ["last", None, None]


def test_epochs_that_end_a_run_before_its_updates_are_named(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*words, "--trainer.max_epochs", "1", "--trainer.max_steps", "4"])
    assert updates_made(tmp_path / "run") == 2
    expected = "trainer.max_epochs 1 ends the run after 2 updates, before trainer.max_steps 4; set it to null"
    assert expected in capsys.readouterr().err
