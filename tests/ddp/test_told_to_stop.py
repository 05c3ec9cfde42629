"""Ranks of which one is told to stop, stop together, and go on to the bits of the run of one that nobody stopped."""

import signal
from pathlib import Path

import pytest
from test_one_run import largest_difference, start

from purer_lightning.cli import main
from purer_lightning.data.real_episodes import AT_ONCE


@pytest.fixture(scope="module")
def words(toy_data: Path, toy_pool: Path) -> list[str]:
    """As many episodes of meta-val as make two batches for the first rank, and one for the second."""
    return [
        *("fit", "--config", "demo.yaml", "--data.dataset", "toy", "--data.root", str(toy_data)),
        *("--data.pool", str(toy_pool), "--data.way", "3", "--data.query", "2", "--data.updates_per_epoch", "5"),
        *(
            "--data.validation_episodes",
            str(2 * AT_ONCE + 1),
            "--synthesis.initial_steps",
            "3",
            "--engine.choice",
            "compiled",
        ),
        *("--model.learner.init_args.arguments", '{"width": 8}', "--trainer.accelerator", "cpu"),
        *("--trainer.enable_progress_bar", "false", "--trainer.max_steps", "10", "--ckpt_path", "last"),
    ]


@pytest.fixture(scope="module")
def alone(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "alone"
    main([*words, "--run", str(run)])
    return run


@pytest.mark.parametrize(
    ("where", "after"),
    [("inversion", "step 1 of 3 of the initial inversion"), ("validation", "update 5 and before its validation")],
)
def test_all_ranks_stop_where_one_is_told_and_go_on_together(
    where: str, after: str, words: list[str], alone: Path, tmp_path: Path
) -> None:
    command = [*words, "--run", str(tmp_path)]
    told = ["--trainer.callbacks+", "stopping.OneRankIsTold", "--trainer.callbacks.where", where]
    stopped = start([*command, *told], 2)
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
    assert stopped.stderr.count(f"Stopped by SIGTERM after {after}, which is saved.") == 1, stopped.stderr
    gone_on = start(command, 2)
    assert gone_on.returncode == 0, gone_on.stderr
    assert largest_difference(alone, tmp_path) == 0
    assert (alone / "metrics.csv").read_text() == (tmp_path / "metrics.csv").read_text()
