"""A run that is killed, at whatever moment and however often, and resumed ends with the bits of one that is not."""

import random
from pathlib import Path

import pytest
from starts import assert_same_run, die_in_file_operation, fill_the_disk, fit_whole, small_fit, start

KILLS, UPDATES = 20, 36
OPERATIONS = 9  # save; link, sync, replace, sync the folder; sync, replace, sync the folder; sync the log


@pytest.fixture(scope="module")
def words(toy_data: Path, toy_pool: Path) -> list[str]:
    return small_fit(toy_data, toy_pool)


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
