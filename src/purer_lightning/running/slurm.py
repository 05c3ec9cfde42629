"""Slurm's traps in sentences instead of hangs, and a job that puts itself back into the queue."""

import re
import subprocess
from collections.abc import Mapping, MutableMapping

from purer_lightning.errors import PurerError

TAKEN_FOR_INTERACTIVE = ("bash", "interactive")  # by Lightning, as names of a job


def is_job(environment: Mapping[str, str]) -> bool:
    """Whether this process belongs to a job of Slurm."""
    return "SLURM_JOB_ID" in environment


def is_step(environment: Mapping[str, str]) -> bool:
    """Whether srun has started this process."""
    return "SLURM_STEP_ID" in environment


def device_count(devices: int | str | list[int], accelerator: str) -> int:
    """Return how many devices a node, and so processes, ``trainer.devices`` means: 4, "4", "0,1", [0, 1] or "auto"."""
    if isinstance(devices, list):
        return len(devices)
    if "," in str(devices):
        return len(str(devices).strip(",").split(","))
    if str(devices) not in ("auto", "-1"):
        return int(devices)
    import torch

    return torch.cuda.device_count() if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() else 1


def check_start(environment: Mapping[str, str]) -> None:
    """Check how the command was started, before anything heavy is imported.

    Args:
        environment: as Slurm has made it.

    Raises:
        PurerError: the process would wait for others that nobody starts, or each task would make a run of its own.
    """
    tasks, name = int(environment.get("SLURM_NTASKS", "1")), environment.get("SLURM_JOB_NAME", "")
    if not is_job(environment) or tasks == 1:
        return
    if is_step(environment) and name in TAKEN_FOR_INTERACTIVE:
        raise PurerError(
            f"This job is named '{name}', as if it were a shell, so each of its {tasks} tasks would make a run of its "
            f"own; give it another name: srun --job-name purer ..."
        )
    if not is_step(environment) and name not in TAKEN_FOR_INTERACTIVE:
        raise PurerError(
            f"This job has {tasks} tasks, but purer was not started by srun and would wait for the others for ever; "
            f"put srun before the command."
        )


def check_tasks(environment: MutableMapping[str, str], devices: int, nodes: int) -> None:
    """Check that Slurm has started as many processes as the Trainer expects: a task of Slurm is a process of the run.

    Lightning wants to be told how many there are on each node; where srun was only told how many there are in all, the
    variable is set here.

    Args:
        environment: as Slurm has made it.
        devices: of ``trainer.devices``, a number.
        nodes: of ``trainer.num_nodes``.

    Raises:
        PurerError: it has not.
    """
    if "SLURM_NTASKS" not in environment or environment.get("SLURM_JOB_NAME") in TAKEN_FOR_INTERACTIVE:
        return  # Lightning does not ask Slurm then
    tasks = int(environment["SLURM_NTASKS"])
    if tasks != devices * nodes:
        raise PurerError(
            f"Expected a task of Slurm for each of the {devices * nodes} processes of trainer.devices {devices} x "
            f"trainer.num_nodes {nodes}, but the job has {tasks}; set --nodes={nodes} --ntasks-per-node={devices}, or "
            f"trainer.devices and trainer.num_nodes to what the job has."
        )
    each = re.fullmatch(r"(\d+)(\(x\d+\))?", environment.get("SLURM_TASKS_PER_NODE", ""))
    if each:
        environment.setdefault("SLURM_NTASKS_PER_NODE", each.group(1))


def is_preempted(environment: Mapping[str, str]) -> bool:
    """Whether Slurm has preempted this job and left it time to end by itself.

    A job that ends within that time (GraceTime) is done to Slurm (22.05) and not put back. One that is put back or
    cancelled by Slurm itself is no longer running when it is sent SIGTERM.
    """
    try:
        said = _scontrol("show", "job", "--oneliner", environment["SLURM_JOB_ID"]).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    facts = dict(word.partition("=")[::2] for word in said.split())
    return facts.get("JobState") == "RUNNING" and facts.get("PreemptTime", "None") != "None"


def requeue(environment: Mapping[str, str]) -> str:
    """Requeue this job; return a sentence that reports it, or why it was not possible."""
    job = environment["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in environment:
        job = f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    try:
        done = _scontrol("requeue", job)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"Job {job} could not be put back into the queue ({error}); submit it again."
    if done.returncode:
        return f"Job {job} could not be put back into the queue ({done.stderr.strip()}); submit it again."
    return f"Job {job} is back in the queue and goes on by itself."


def _scontrol(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["scontrol", *words], check=False, capture_output=True, text=True, timeout=60)
