"""A run that is told to stop, by whichever signal and wherever, saves and goes on to the bits of one that is not."""

import signal
from pathlib import Path

import pytest
import torch
from clocks import Clock
from starts import assert_same_run, fit_whole, signal_after, small_fit, start

from purer_lightning.cli import main
from purer_lightning.data.real_episodes import AT_ONCE

THREE_BATCHES = ("--data.validation_episodes", str(2 * AT_ONCE + 1))


@pytest.fixture(scope="module")
def words(toy_data: Path, toy_pool: Path) -> list[str]:
    return small_fit(toy_data, toy_pool)


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_saves_at_the_end_of_the_update_and_goes_on_to_the_same_bits(
    words: list[str], tmp_path: Path
) -> None:
    words = [*words, "--trainer.max_steps", "24", "--last_checkpoint.every_minutes", "60"]
    whole = fit_whole(tmp_path / "whole", words)
    run, log = tmp_path / "stopped", tmp_path / "stopped.log"
    done = 0
    for number, updates in ((signal.SIGINT, 3), (signal.SIGTERM, 6), (signal.SIGUSR1, 6)):
        process = start([*words, "--run", str(run)], log, signal_after, number, "training_step", updates)
        process.join()
        done += updates
        assert process.exitcode == 128 + number, log.read_text()
        said = log.read_text().splitlines()[-1]
        after = f"Stopped by {signal.Signals(number).name} after update {done}, which is saved."
        assert f"{after} Go on with the same command and: --run {run} --ckpt_path last" in said
        assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == done
    process = start([*words, "--run", str(run)], log)
    process.join()
    assert process.exitcode == 0, log.read_text()
    assert_same_run(run, whole.folder)


def test_the_initial_inversion_is_stopped_between_two_of_its_steps_and_goes_on_to_the_same_bits(
    words: list[str], tmp_path: Path
) -> None:
    words = [*words, "--trainer.max_steps", "8", "--synthesis.initial_steps", "6"]
    words += ["--last_checkpoint.every_minutes", "60"]
    whole = fit_whole(tmp_path / "whole", words)
    run, log = tmp_path / "stopped", tmp_path / "stopped.log"
    done = 0
    for number, steps in ((signal.SIGINT, 1), (signal.SIGTERM, 2), (signal.SIGUSR1, 3)):
        process = start([*words, "--run", str(run)], log, signal_after, number, "data_step", steps)
        process.join()
        done += steps
        assert process.exitcode == 128 + number, log.read_text()
        said = log.read_text().splitlines()[-1]
        assert f"after step {done} of 6 of the initial inversion, which is saved. Go on with the same command" in said
        assert not (run / "metrics.csv").exists()
    process = start([*words, "--run", str(run)], log)
    process.join()
    assert process.exitcode == 0, log.read_text()
    assert_same_run(run, whole.folder)


def test_a_killed_initial_inversion_goes_on_from_its_last_saved_step(words: list[str], tmp_path: Path) -> None:
    words = [*words, "--trainer.max_steps", "2", "--synthesis.initial_steps", "4"]
    whole = fit_whole(tmp_path / "whole", words)
    run, log = tmp_path / "killed", tmp_path / "killed.log"
    process = start([*words, "--run", str(run)], log, signal_after, signal.SIGKILL, "data_step", 3)
    process.join()
    assert process.exitcode == -signal.SIGKILL, log.read_text()
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["callbacks"]["SynthesisCallback"]["initial_steps_done"] == 2
    process = start([*words, "--run", str(run)], log)
    process.join()
    assert process.exitcode == 0, log.read_text()
    assert_same_run(run, whole.folder)


def test_a_validation_is_stopped_between_two_batches_and_made_anew_to_the_same_bits(
    words: list[str], tmp_path: Path
) -> None:
    words = [*words, "--trainer.max_steps", "12", "--last_checkpoint.every_minutes", "60", *THREE_BATCHES]
    whole = fit_whole(tmp_path / "whole", words)
    run, log = tmp_path / "stopped", tmp_path / "stopped.log"
    for number, batches, updates in ((signal.SIGTERM, 1, 4), (signal.SIGINT, 1, 4), (signal.SIGUSR1, 3 + 2, 8)):
        process = start([*words, "--run", str(run)], log, signal_after, number, "validation_step", batches)
        process.join()
        assert process.exitcode == 128 + number, log.read_text()
        assert f"after update {updates} and before its validation, which is saved" in log.read_text().splitlines()[-1]
    # Killed between the validation's line in the log and the checkpoint that says that it was made.
    process = start([*words, "--run", str(run)], log, signal_after, signal.SIGKILL, "on_validation_epoch_end", 1)
    process.join()
    assert process.exitcode == -signal.SIGKILL, log.read_text()
    process = start([*words, "--run", str(run)], log)
    process.join()
    assert process.exitcode == 0, log.read_text()
    assert_same_run(run, whole.folder)


def test_the_last_validation_is_waited_for(words: list[str], tmp_path: Path) -> None:
    words = [*words, "--trainer.max_steps", "4"]
    log = tmp_path / "log"
    process = start([*words, "--run", str(tmp_path)], log, signal_after, signal.SIGTERM, "validation_step", 1)
    process.join()
    assert process.exitcode == 0, log.read_text()
    assert (tmp_path / "summary.json").exists()


@pytest.mark.parametrize(
    ("method", "call", "updates"),
    [("data_step", 1, 0), ("training_step", 2, 2), ("validation_step", 2, 4), ("on_validation_epoch_end", 1, 4)],
)
def test_lightnings_own_clock_goes_on_where_it_was(
    method: str, call: int, updates: int, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of loggers that a user adds."""
    monkeypatch.setattr(Clock, "seen", [])
    words = [*words, "--trainer.max_steps", "8", "--run", str(tmp_path), "--trainer.callbacks+", "clocks.Clock"]
    words += ["--last_checkpoint.every_minutes", "60", *THREE_BATCHES]
    process = start(words, tmp_path / "log", signal_after, signal.SIGTERM, method, call)
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM, (tmp_path / "log").read_text()
    main(words)
    assert Clock.seen == [(update + 1, update) for update in range(updates, 8)]


def test_more_initial_steps_are_made_where_the_run_was_stopped_in_them(words: list[str], tmp_path: Path) -> None:
    words = [*words, "--trainer.max_steps", "1", "--run", str(tmp_path)]
    log = tmp_path / "log"
    few = [*words, "--synthesis.initial_steps", "3"]
    process = start(few, log, signal_after, signal.SIGTERM, "data_step", 2)
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM, log.read_text()
    process = start([*words, "--synthesis.initial_steps", "4"], log)
    process.join()
    assert process.exitcode == 0, log.read_text()
    assert "  synthesis.initial_steps: 4, was 3\n" in log.read_text()
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["callbacks"]["SynthesisCallback"]["initial_steps_done"] == 4


@pytest.mark.parametrize("command", ["validate", "test"])
def test_an_evaluation_ends_at_once_on_sigterm_and_goes_on_after_sigusr1(
    command: str, words: list[str], tmp_path: Path
) -> None:
    words = [command, *words[1 : words.index("--last_checkpoint.every_minutes")], "--run", str(tmp_path)]
    words += ["--data.test_episodes", "4", "--evaluation.calibration.enabled", "false"]
    log = tmp_path / "log"
    process = start(words, log, signal_after, signal.SIGTERM, "_check_number", 2)
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM, log.read_text()
    sentence = f"Stopped by SIGTERM; nothing is kept of a part of {command}, so the same command begins it anew."
    assert log.read_text().splitlines()[-1] == f"purer: {sentence}"
    assert not (tmp_path / command / "results.json").exists()
    process = start(words, log, signal_after, signal.SIGUSR1, "_check_number", 2)
    process.join()
    assert process.exitcode == 0, log.read_text()
    assert "purer: SIGUSR1: there is nothing to save, so this goes on." in log.read_text()
    assert (tmp_path / command / "results.json").exists()
