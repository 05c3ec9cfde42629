"""What the tests under Slurm share: the cluster, a fit, and that fit without Slurm."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from purer_lightning.cli import main
from slurm.cluster import Cluster, running

UPDATES = 24


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("slurm")
    with running(folder) as environment:
        paths = f"{Path(sys.executable).parent}:{environment['PATH']}"
        modules = f"{Path(__file__).parents[1]}:{environment.get('PYTHONPATH', '')}"
        yield Cluster(environment | {"PATH": paths, "PYTHONPATH": modules, "OMP_NUM_THREADS": "1"}, folder)


@pytest.fixture(scope="module")
def words(toy_data: Path, toy_pool: Path) -> list[str]:
    """A fit of parts of a second an update."""
    return [
        *("--config", "demo.yaml", "--data.dataset", "toy", "--data.root", str(toy_data)),
        *("--data.pool", str(toy_pool), "--data.way", "2", "--data.query", "1", "--data.episodes_per_update", "3"),
        *("--data.updates_per_epoch", "4", "--data.validation_episodes", "3", "--synthesis.initial_steps", "1"),
        *("--data.test_episodes", "5", "--model.curriculum.warm_up", "4", "--model.curriculum.patience", "2"),
        *("--model.learner.init_args.arguments", "{width: 4}", "--trainer.enable_progress_bar", "false"),
        *("--trainer.accelerator", "cpu", "--trainer.max_steps", str(UPDATES)),
    ]


@pytest.fixture(scope="module")
def alone(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process, outside of Slurm, that nobody has interrupted."""
    run = tmp_path_factory.mktemp("alone") / "run"
    main(["fit", *words, "--run", str(run)])
    main(["test", *words, "--run", str(run), "--ckpt_path", "best"])
    return run
