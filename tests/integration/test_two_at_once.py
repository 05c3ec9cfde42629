"""Two processes that want one run folder: the second one ends in a sentence, and the first one's run is whole."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from purer_lightning.cli import main
from purer_lightning.files import LOCK, locked

COMMAND = [sys.executable, "-c", "from purer_lightning.cli import main; main()"]


@pytest.fixture
def words(toy_data: Path, toy_pool: Path, tmp_path: Path) -> list[str]:
    """A fit of so few updates that it is over in seconds."""
    return [
        *("fit", "--config", "demo.yaml", "--data.dataset", "toy", "--data.root", str(toy_data)),
        *("--data.pool", str(toy_pool), "--data.way", "2", "--data.query", "1", "--data.episodes_per_update", "2"),
        *("--data.updates_per_epoch", "2", "--data.validation_episodes", "2", "--synthesis.initial_steps", "1"),
        *("--model.curriculum.enabled", "false", "--trainer.accelerator", "cpu", "--trainer.max_steps", "2"),
        *("--model.learner.init_args.arguments", "{width: 4}", "--trainer.enable_progress_bar", "false"),
        *("--run", str(tmp_path / "run"), "--ckpt_path", "last"),
    ]


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 1
    return capsys.readouterr().err.splitlines()[-1]


def test_a_second_fit_is_refused_while_the_first_one_runs_and_goes_on_once_it_was_killed(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with subprocess.Popen(
        [*COMMAND, *words, "--trainer.max_steps", "100000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as first:
        deadline = time.monotonic() + 120
        while not (run / "checkpoints" / "last.ckpt").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        holder = json.loads((run / LOCK).read_text(encoding="utf-8"))
        assert (holder["pid"], holder["host"]) == (first.pid, socket.gethostname())
        said = refused(words, capsys)
        assert said.startswith(f"purer: '{run}' is in use by purer fit (process {first.pid} on {socket.gethostname()}")
        assert said.endswith("wait until it has ended, or name another folder with --run.")
        assert "is in use by purer fit" in refused(["test", *words[1:-4], "--run", str(run)], capsys)
        assert not (run / "test").exists()
        first.send_signal(signal.SIGKILL)
    assert (run / LOCK).exists()
    with (run / "metrics.csv").open(newline="") as file:
        made = max(int(row["step"]) for row in csv.DictReader(file)) + 1
    main([*words, "--trainer.max_steps", str(made + 3)])
    assert not (run / LOCK).exists()
    with (run / "metrics.csv").open(newline="") as file:
        updates = [int(row["step"]) for row in csv.DictReader(file) if row["train/outer_loss"]]
    assert updates == list(range(made + 3))


def test_a_test_in_a_folder_of_its_own_may_run_beside_a_fit(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(words)
    run, apart = tmp_path / "run", tmp_path / "apart"
    tested = ["test", *words[1:-4], "--data.test_episodes", "2", "--ckpt_path", str(run / "checkpoints" / "best.ckpt")]
    with locked(run, "purer fit", ""):
        assert f"process {os.getpid()}" in refused(tested, capsys)
        main([*tested, "--run", str(apart)])
    assert (apart / "test" / "results.json").is_file()
    assert not (run / "test").exists()


def test_a_refused_command_leaves_no_lock_and_no_folder(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main([*words, "--data.pool", str(tmp_path / "no pool")])
    assert not (tmp_path / "run").exists()
