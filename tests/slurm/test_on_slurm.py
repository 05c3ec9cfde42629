"""`purer` under the real Slurm: a cluster of one node with two task slots, started for these tests."""

import csv
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from cluster import running, why_not

from purer_lightning.cli import main

PROJECT = Path(__file__).resolve().parents[2]
UPDATES = 24

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]


class Cluster(NamedTuple):
    """How to give commands to the cluster."""

    environment: dict[str, str]
    folder: Path

    def call(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=timeout, check=False
        )

    def state(self, job: str) -> str:
        return self.call("squeue", "-h", "-j", job, "-o", "%T").stdout.strip()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("slurm")
    with running(folder) as environment:
        paths = f"{Path(sys.executable).parent}:{environment['PATH']}"
        yield Cluster(environment | {"PATH": paths, "OMP_NUM_THREADS": "1"}, folder)


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


def edited_script(folder: Path) -> Path:
    """Return the job script as a user edits it: partition, nodes, GPUs; here tasks without GPUs."""
    lines = (PROJECT / "experiments" / "machine" / "srun.sh").read_text().splitlines()
    edits = ["#SBATCH --partition=debug", "#SBATCH --nodes=1", "#SBATCH --ntasks-per-node=2"]
    script = folder / "srun.sh"
    script.write_text("\n".join([lines[0], *edits, *lines[4:]]) + "\n")
    return script


def wait_for_update(run: Path, step: int, log: Path, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (run / "metrics.csv").exists():
            with (run / "metrics.csv").open(newline="") as file:
                if any(int(row["step"] or 0) >= step for row in csv.DictReader(file)):
                    return
        time.sleep(0.05)
    raise TimeoutError(f"Update {step} did not come: {log.read_text() if log.exists() else 'no output'}")


def wait_for_end(cluster: Cluster, job: str, log: Path, seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if cluster.state(job) in ("", "COMPLETED", "FAILED", "CANCELLED"):
            return
        time.sleep(0.2)
    raise TimeoutError(f"Job {job} is {cluster.state(job)}: {log.read_text()}")


def test_a_job_of_two_tasks_that_is_told_its_time_is_over_comes_back_and_ends_with_the_bits_of_one_process(
    cluster: Cluster, words: list[str], alone: Path
) -> None:
    run = cluster.folder / "run"
    script = edited_script(cluster.folder)
    job = cluster.call("sbatch", "--parsable", str(script), *words, "--trainer.strategy", "ddp", "--run", str(run))
    assert job.returncode == 0, job.stderr
    number = job.stdout.strip()
    log = cluster.folder / f"purer-{number}.out"
    wait_for_update(run, 5, log)
    cluster.call("scancel", "--signal=USR1", number)  # what Slurm itself does for --signal
    wait_for_end(cluster, number, log)
    said = log.read_text()
    assert "Stopped by SIGUSR1 after update" in said, said
    assert f"Job {number} is back in the queue and goes on by itself." in said
    assert "Restored all states" in said
    assert (run / "summary.json").exists(), said
    states = [torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (run, alone)]
    for part in ("global_step", "state_dict", "optimizer_states", "curriculum"):
        torch.testing.assert_close(states[0][part], states[1][part], rtol=0, atol=0)
    assert torch.equal(*(state["callbacks"]["SynthesisCallback"]["images"] for state in states))
    assert (run / "metrics.csv").read_bytes() == (alone / "metrics.csv").read_bytes()

    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--ckpt_path", "best", "--run", str(run)]
    tested = cluster.call("srun", "--ntasks=2", "purer", "test", *words, *two)
    assert tested.returncode == 0, tested.stderr
    episodes = [(folder / "test" / "episodes.csv").read_text() for folder in (run, alone)]
    assert episodes[0] == episodes[1]


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one sentence with which a command ended, however many tasks have said it."""
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    (said,) = {line for line in done.stderr.splitlines() if line.startswith("purer: ")}
    return said


def test_each_trap_ends_in_a_sentence(cluster: Cluster, words: list[str]) -> None:
    fit = ["purer", "fit", *words, "--run", str(cluster.folder / "trap")]
    in_a_shell = ["bash", "-c", 'exec "$@"', "bash", *fit, "--trainer.devices", "2"]
    assert "This job is named 'bash'" in sentence(cluster.call("srun", "--ntasks-per-node=2", *in_a_shell))

    one_task = ["srun", "--ntasks=1", *fit]
    said = sentence(cluster.call(*one_task, "--trainer.devices", "2"))
    assert "2 processes of trainer.devices 2 x trainer.num_nodes 1, but the job has 1" in said

    stale = cluster.folder / "trap" / "hpc_ckpt_3.ckpt"
    stale.parent.mkdir(exist_ok=True)
    stale.touch()
    assert f"'{stale}' is no checkpoint of purer fit" in sentence(cluster.call(*one_task))

    without_srun = cluster.folder / "without_srun.sh"
    without_srun.write_text('#!/bin/bash\nexec "$@"\n')
    batch = ["sbatch", "--wait", "--ntasks=2", f"--output={cluster.folder}/without_srun.out", str(without_srun)]
    assert cluster.call(*batch, *fit, "--trainer.devices", "2").returncode == 1
    assert "purer was not started by srun and would wait" in (cluster.folder / "without_srun.out").read_text()
