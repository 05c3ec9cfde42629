"""Slurm's variables, and what they mean for a run."""

import os
import sys
from pathlib import Path

import pytest

from purer_lightning.errors import PurerError
from purer_lightning.running.slurm import check_start, check_tasks, device_count, is_preempted, requeue

STEP = {
    "SLURM_JOB_ID": "12",
    "SLURM_JOB_NAME": "purer",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_STEP_ID": "0",
    "SLURM_TASKS_PER_NODE": "2(x2)",
}
SCRIPT = {name: value for name, value in STEP.items() if name != "SLURM_STEP_ID"}
ONE_TASK = STEP | {"SLURM_NTASKS": "1", "SLURM_TASKS_PER_NODE": "1", "SLURM_NTASKS_PER_NODE": "1"}


def check(environment: dict[str, str], devices: int, nodes: int) -> None:
    check_start(environment)
    check_tasks(dict(environment), devices, nodes)


@pytest.mark.parametrize(
    ("environment", "devices", "nodes"),
    [
        ({}, 4, 2),  # no job at all
        (STEP, 2, 2),
        (ONE_TASK, 1, 1),
        (ONE_TASK | {"SLURM_JOB_NAME": "bash"}, 1, 1),
        (SCRIPT | {"SLURM_JOB_NAME": "interactive"}, 4, 1),  # Lightning starts the processes itself
        ({"SLURM_JOB_ID": "12", "SLURM_JOB_NAME": "script"}, 1, 1),
    ],
)
def test_what_fits_together_passes(environment: dict[str, str], devices: int, nodes: int) -> None:
    check(environment, devices, nodes)


@pytest.mark.parametrize(
    ("environment", "devices", "nodes", "expected"),
    [
        (STEP | {"SLURM_JOB_NAME": "bash"}, 2, 2, "named 'bash'.* 4 tasks would make a run of its own; .*--job-name"),
        (SCRIPT, 2, 2, "4 tasks, but purer was not started by srun .*; put srun before"),
        (STEP, 4, 2, "8 processes of trainer.devices 4 x trainer.num_nodes 2, but the job has 4; .*per-node=4"),
        (ONE_TASK, 2, 1, "2 processes .* but the job has 1"),
        (STEP, 1, 1, "1 processes .* but the job has 4"),
    ],
)
def test_what_would_hang_or_start_several_runs_is_refused(
    environment: dict[str, str], devices: int, nodes: int, expected: str
) -> None:
    with pytest.raises(PurerError, match=expected):
        check(environment, devices, nodes)


def test_tasks_that_were_only_counted_in_all_are_told_to_lightning_by_node() -> None:
    environment = {name: value for name, value in STEP.items() if name != "SLURM_NTASKS_PER_NODE"}
    check_tasks(environment, 2, 2)
    assert environment["SLURM_NTASKS_PER_NODE"] == "2"


@pytest.mark.parametrize(
    ("devices", "count"), [(4, 4), ("4", 4), ("0,1", 2), ("3,", 1), ([0, 2, 3], 3), ("auto", 1), (-1, 1)]
)
def test_devices_are_counted_in_each_way_of_naming_them(devices: int | str | list[int], count: int) -> None:
    assert device_count(devices, "cpu") == count


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program ``scontrol`` before all others."""
    path = folder / "scontrol"
    path.write_text(f"#!{sys.executable}\nimport sys\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_a_job_or_its_place_in_an_array_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "open(sys.argv[0] + '.called', 'w').write(' '.join(sys.argv[1:]))", monkeypatch)
    assert "Job 12 is back in the queue" in requeue(STEP)
    assert (tmp_path / "scontrol.called").read_text() == "requeue 12"
    requeue(STEP | {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"})
    assert (tmp_path / "scontrol.called").read_text() == "requeue 7_3"


@pytest.mark.parametrize(
    ("said", "preempted"),
    [
        ("JobId=12 JobState=RUNNING Reason=None PreemptTime=2026-11-28T11:02:32", True),
        ("JobId=12 JobState=RUNNING Reason=None PreemptTime=None", False),
        ("JobId=12 JobState=RUNNING Reason=None", False),
        ("JobId=12 JobState=COMPLETING Reason=None PreemptTime=2026-11-28T11:02:32", False),
        ("", False),
    ],
)
def test_a_job_is_preempted_that_runs_on_after_slurm_has_told_it_to_make_room(
    said: str, preempted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, f"print({said!r} if sys.argv[1:] == ['show', 'job', '--oneliner', '12'] else '')", monkeypatch)
    assert is_preempted(STEP) == preempted
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert not is_preempted(STEP)


def test_a_job_that_cannot_be_put_back_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "sys.exit('Job is not requeueable')", monkeypatch)
    assert "could not be put back into the queue (Job is not requeueable); submit it again" in requeue(STEP)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert "could not be put back" in requeue(STEP)
