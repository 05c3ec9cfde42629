"""`purer` under the real Slurm: a cluster of one node with two task slots, started for these tests."""

import subprocess
from pathlib import Path

import pytest

from slurm.cluster import Cluster, same_run, submit, told, wait_for_end, wait_for_update, why_not

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # more than the waits within a test, each of which ends in a sentence
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]


def test_a_job_of_two_tasks_that_is_told_its_time_is_over_comes_back_and_ends_with_the_bits_of_one_process(
    cluster: Cluster, words: list[str], alone: Path
) -> None:
    run = cluster.folder / "run"
    number, log = submit(cluster, run, words)
    wait_for_update(run, 5, log)
    cluster.call("scancel", "--signal=USR1", number)  # what Slurm itself does for --signal
    told(run, log)
    wait_for_end(cluster, number, log)
    said = log.read_text()
    assert "Stopped by SIGUSR1 after update" in said, said
    assert f"Job {number} is back in the queue and goes on by itself." in said
    assert "Restored all states" in said
    assert (run / "summary.json").exists(), said
    same_run(run, alone)

    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--ckpt_path", "best", "--run", str(run)]
    tested = cluster.call("srun", "--ntasks=2", "purer", "test", *words, *two)
    assert tested.returncode == 0, tested.stderr
    episodes = [(folder / "test" / "episodes.csv").read_text() for folder in (run, alone)]
    assert episodes[0] == episodes[1]


def test_a_preempted_job_puts_itself_back_and_ends_with_the_same_bits(
    cluster: Cluster, words: list[str], alone: Path
) -> None:
    run = cluster.folder / "preempted"
    number, log = submit(cluster, run, words)
    wait_for_update(run, 5, log)
    urgent = cluster.call("sbatch", "--partition=urgent", "--ntasks=2", "--output=/dev/null", "--wrap", "sleep 1")
    assert urgent.returncode == 0, urgent.stderr
    told(run, log)
    wait_for_end(cluster, number, log)
    said = log.read_text()
    assert "Stopped by SIGTERM after update" in said, said
    assert f"Job {number} is back in the queue and goes on by itself." in said
    assert (run / "summary.json").exists(), said
    same_run(run, alone)


def test_a_cancelled_job_saves_and_does_not_come_back_but_goes_on_when_it_is_submitted_again(
    cluster: Cluster, words: list[str], alone: Path
) -> None:
    run = cluster.folder / "cancelled"
    number, log = submit(cluster, run, words)
    wait_for_update(run, 5, log)
    cluster.call("scancel", number)
    told(run, log)
    wait_for_end(cluster, number, log)
    said = log.read_text()
    assert "Stopped by SIGTERM after update" in said, said
    assert f"Go on with the same command and: --run {run} --ckpt_path last" in said
    assert "back in the queue" not in said
    assert "JobState=CANCELLED" in cluster.call("scontrol", "show", "job", number).stdout
    assert not (run / "summary.json").exists()
    number, log = submit(cluster, run, words)
    wait_for_end(cluster, number, log)
    assert (run / "summary.json").exists(), log.read_text()
    same_run(run, alone)


def test_a_test_that_is_told_its_time_is_over_goes_on_and_leaves_no_checkpoint_of_lightnings(
    cluster: Cluster, words: list[str], alone: Path
) -> None:
    run = cluster.folder / "tested"
    checkpoint = str(alone / "checkpoints" / "best.ckpt")
    callback = ["--trainer.callbacks+", "slurm.slurm_callbacks.ToldInATest"]
    tested = cluster.call(
        "srun", "--ntasks=1", "purer", "test", *words, *callback, "--run", str(run), "--ckpt_path", checkpoint
    )
    assert tested.returncode == 0, tested.stderr
    assert "purer: SIGUSR1: there is nothing to save, so this goes on." in tested.stderr
    assert list(run.rglob("hpc_ckpt*")) == []
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
