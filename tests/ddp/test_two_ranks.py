"""`purer test` on two real processes over gloo."""

import subprocess
import sys
from pathlib import Path

from purer_lightning.cli import main


def test_two_ranks_score_the_same_episodes_alike(toy_data: Path, toy_pool: Path, tmp_path: Path) -> None:
    """Five episodes: Lightning's own sampler would pad them to six on two ranks, and count one twice."""
    where = ["--data.dataset", "toy", "--data.root", str(toy_data), "--data.pool", str(toy_pool)]
    small = ["--data.way", "3", "--data.query", "3", "--data.test_episodes", "5", "--trainer.accelerator", "cpu"]
    words = ["test", "--config", "demo.yaml", *where, *small, "--trainer.enable_progress_bar", "false", "--run"]
    main([*words, str(tmp_path / "one")])
    # A command of its own: Lightning starts the second rank by running the same command once more.
    two = [str(tmp_path / "two"), "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    purer = Path(sys.executable).with_name("purer")
    subprocess.run([purer, *words, *two], check=True, capture_output=True, timeout=200)
    one_rank, two_ranks = ((tmp_path / name / "test" / "episodes.csv").read_text() for name in ("one", "two"))
    assert one_rank == two_ranks
    assert one_rank.count("\n") == 6
