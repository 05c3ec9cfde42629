"""A run that is killed, at whatever moment and however often, and resumed ends with the bits of one that is not."""

import csv
import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from starts import assert_same_run, die_in_file_operation, fill_the_disk, start

KILLS, UPDATES = 20, 36
OPERATIONS = 9  # save; link, sync, replace, sync the folder; sync, replace, sync the folder; sync the log


class Whole(NamedTuple):
    """A run that nobody has interrupted, and how long it took to its first update."""

    folder: Path
    seconds: float


@pytest.fixture(scope="module")
def words(toy_data: Path, toy_pool: Path) -> list[str]:
    """A fit of parts of a second an update, each saved."""
    return [
        *("fit", "--config", "demo.yaml", "--data.dataset", "toy", "--data.root", str(toy_data)),
        *("--data.pool", str(toy_pool), "--data.way", "2", "--data.query", "1", "--data.episodes_per_update", "2"),
        *("--data.updates_per_epoch", "4", "--data.validation_episodes", "3", "--synthesis.initial_steps", "1"),
        *("--model.curriculum.warm_up", "4", "--model.curriculum.patience", "2", "--trainer.accelerator", "cpu"),
        *("--model.learner.init_args.arguments", "{width: 4}", "--trainer.enable_progress_bar", "false"),
        *("--last_checkpoint.every_minutes", "0", "--ckpt_path", "last"),
    ]


def fit_whole(folder: Path, words: list[str]) -> Whole:
    start(["--version"], folder.with_suffix(".log")).join()  # the first one waits for the imports
    began = time.monotonic()
    process = start([*words, "--run", str(folder)], folder.with_suffix(".log"))
    while not (folder / "metrics.csv").exists() and process.is_alive():
        time.sleep(0.01)
    seconds = time.monotonic() - began
    process.join()
    assert process.exitcode == 0, folder.with_suffix(".log").read_text()
    return Whole(folder, seconds)


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_bits_of_an_uninterrupted_one(
    words: list[str], tmp_path: Path
) -> None:
    words = [*words, "--trainer.max_steps", str(UPDATES)]
    whole = fit_whole(tmp_path / "whole", words)
    rng, log = random.Random(0), tmp_path / "killed.log"
    kills, runs = 0, [tmp_path / "killed_0"]
    while True:
        process = start([*words, "--run", str(runs[-1])], log)
        process.join(None if kills == KILLS else rng.uniform(0.3, 1.5) * whole.seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
            continue
        assert process.exitcode == 0, log.read_text()
        assert_same_run(runs[-1], whole.folder)
        if kills == KILLS:
            break
        runs.append(tmp_path / f"killed_{len(runs)}")  # it was faster than its killer: another one
    assert "Restored all states" in log.read_text()


@pytest.mark.slow
def test_a_run_killed_in_each_file_operation_of_a_checkpoint_ends_with_the_same_bits(
    words: list[str], tmp_path: Path
) -> None:
    words = [*words, "--trainer.max_steps", "20"]
    whole = fit_whole(tmp_path / "whole", words)
    run, log = tmp_path / "killed", tmp_path / "killed.log"
    for operation in range(1, OPERATIONS + 1):
        process = start([*words, "--run", str(run)], log, die_in_file_operation, operation)
        process.join()
        assert process.exitcode == -9, log.read_text()
    process = start([*words, "--run", str(run)], log)
    process.join()
    assert process.exitcode == 0, log.read_text()
    assert_same_run(run, whole.folder)


@pytest.mark.slow
def test_a_full_disk_ends_the_run_in_a_sentence_and_it_goes_on_from_what_is_sound(
    words: list[str], tmp_path: Path
) -> None:
    words = [*words, "--trainer.max_steps", "6"]
    whole = fit_whole(tmp_path / "whole", words)
    run, log = tmp_path / "full", tmp_path / "full.log"
    process = start([*words, "--run", str(run)], log, die_in_file_operation, OPERATIONS)
    process.join()
    assert process.exitcode == -9, log.read_text()
    process = start([*words, "--run", str(run)], log, fill_the_disk, 100_000)
    process.join()
    assert process.exitcode == 1
    assert ".ckpt': File too large. Give another folder, or make room." in log.read_text().splitlines()[-1]
    last = run / "checkpoints" / "last.ckpt"
    (tmp_path / "damaged").write_bytes(last.read_bytes()[:-100])
    (tmp_path / "damaged").replace(last)
    process = start([*words, "--run", str(run)], log)
    process.join()
    assert process.exitcode == 0, log.read_text()
    assert "so the run goes on from the one before it" in log.read_text()
    assert_same_run(run, whole.folder)


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_saves_at_the_end_of_the_update_and_goes_on_to_the_same_bits(
    words: list[str], tmp_path: Path
) -> None:
    words = [*words, "--trainer.max_steps", "24", "--last_checkpoint.every_minutes", "60"]
    whole = fit_whole(tmp_path / "whole", words)
    run, log = tmp_path / "stopped", tmp_path / "stopped.log"
    for number, least in ((signal.SIGINT, 2), (signal.SIGTERM, 8), (signal.SIGUSR1, 14)):
        process = start([*words, "--run", str(run)], log)
        wait_for_line(run, least, process)
        assert process.pid
        os.kill(process.pid, number)
        process.join()
        name = signal.Signals(number).name
        assert process.exitcode == 128 + number, log.read_text()
        said = log.read_text().splitlines()[-1]
        assert f"Stopped by {name} after update" in said
        assert f", which is saved. Go on with the same command and: --run {run} --ckpt_path last" in said
        saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
        assert f"after update {saved}," in said
        assert least < saved < 24
    process = start([*words, "--run", str(run)], log)
    process.join()
    assert process.exitcode == 0, log.read_text()
    assert_same_run(run, whole.folder)


def wait_for_line(run: Path, step: int, process: BaseProcess) -> None:
    """Wait until update number ``step`` (from 0) has been logged."""
    metrics = run / "metrics.csv"
    while process.is_alive():
        if metrics.exists():
            with metrics.open(newline="") as file:
                if any(int(row["step"] or 0) >= step for row in csv.DictReader(file)):
                    return
        time.sleep(0.01)
    raise AssertionError(f"The run has ended before update {step}.")
