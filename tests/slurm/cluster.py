"""A Slurm cluster of one node with two task slots, started for the tests as root without systemd, and its jobs."""

import csv
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import torch

from slurm.slurm_callbacks import GO_ON

PROJECT = Path(__file__).resolve().parents[2]
PROGRAMS = ("slurmctld", "slurmd", "munged", "srun", "sbatch", "scontrol", "sinfo")
CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,requeue_delay=0
ReturnToService=2
KillWait=30
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} CPUs=2 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""


def why_not() -> str | None:
    """Return why no cluster can be started here, None where one can."""
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if not shutil.which(name, path=search)]
    if missing:
        return f"{', '.join(missing)} of Slurm and munge not found; `make slurm` installs them on Debian, as root"
    if os.geteuid() != 0:
        return "only root may start slurmd"
    return None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """Start a cluster whose files lie in ``folder``, and yield the environment for its commands; stop it afterwards."""
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    ports = {"controller_port": free_port(), "node_port": free_port()}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(host=host, folder=folder, **ports))
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    environment |= {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    folder.chmod(0o755)
    munge = ["munged", "--force", f"--socket={folder}/munge.socket", f"--key-file={key}"]
    munge += [f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed"]
    try:
        for command in (munge, ["slurmctld"], ["slurmd"]):
            subprocess.run(command, env=environment, check=True, capture_output=True, timeout=30)
        wait_for_the_node(environment)
        yield environment
    finally:
        for name in ("slurmd", "slurmctld", "munged"):
            stop(folder / f"{name}.pid")


def wait_until(is_so: Callable[[], bool], complaint: Callable[[], str], seconds: float) -> None:
    """Ask again and again, and raise TimeoutError with the complaint of that moment where it has taken too long."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint())
        time.sleep(0.05)


def wait_for_the_node(environment: dict[str, str], seconds: float = 30) -> None:
    def state() -> str:
        command = ["sinfo", "-h", "-o", "%T"]
        answer = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        return answer.stdout.strip() or answer.stderr.strip()

    wait_until(lambda: state() == "idle", lambda: f"The node of the test cluster is '{state()}', not idle.", seconds)


def stop(pid_file: Path) -> None:
    """End the daemon that wrote this file, and wait for its end."""
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text())
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)


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


def edited_script(folder: Path) -> Path:
    """Return the job script as a user edits it: partition, nodes, GPUs; here tasks without GPUs."""
    lines = (PROJECT / "experiments" / "machine" / "srun.sh").read_text().splitlines()
    edits = ["#SBATCH --partition=debug", "#SBATCH --nodes=1", "#SBATCH --ntasks-per-node=2"]
    script = folder / "srun.sh"
    script.write_text("\n".join([lines[0], *edits, *lines[4:]]) + "\n")
    return script


def submit(cluster: Cluster, run: Path, words: list[str]) -> tuple[str, Path]:
    """Submit a fit of two tasks by the job script, held until ``told``; return its number and where its output goes."""
    script = edited_script(cluster.folder)
    more = ["--trainer.strategy", "ddp", "--trainer.callbacks+", "slurm.slurm_callbacks.HeldInAFit", "--run", str(run)]
    job = cluster.call("sbatch", "--parsable", str(script), *words, *more)
    assert job.returncode == 0, job.stderr
    number = job.stdout.strip()
    return number, cluster.folder / f"purer-{number}.out"


def wait_for_update(run: Path, step: int, log: Path, seconds: float = 120) -> None:
    def has_come() -> bool:
        if not (run / "metrics.csv").exists():
            return False
        with (run / "metrics.csv").open(newline="") as file:
            return any(int(row["step"] or 0) >= step for row in csv.DictReader(file))

    def complaint() -> str:
        return f"Update {step} did not come: {log.read_text() if log.exists() else 'no output'}"

    wait_until(has_come, complaint, seconds)


def told(run: Path, log: Path, seconds: float = 60) -> None:
    """Wait until the fit has noted a signal, and let it go on to the end of its step."""
    noted = "saving at the end of this step"
    wait_until(lambda: noted in log.read_text(), lambda: f"No signal came: {log.read_text()}", seconds)
    (run / GO_ON).touch()


def wait_for_end(cluster: Cluster, job: str, log: Path, seconds: float = 200) -> None:
    over = ("", "COMPLETED", "FAILED", "CANCELLED")
    wait_until(
        lambda: cluster.state(job) in over, lambda: f"Job {job} is {cluster.state(job)}: {log.read_text()}", seconds
    )


def same_run(found: Path, wanted: Path) -> None:
    """Compare two runs to the bit."""
    states = [torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (found, wanted)]
    for part in ("global_step", "state_dict", "optimizer_states", "curriculum"):
        torch.testing.assert_close(states[0][part], states[1][part], rtol=0, atol=0)
    synthesis = [state["callbacks"]["SynthesisCallback"] for state in states]
    assert torch.equal(synthesis[0]["images"], synthesis[1]["images"])
    torch.testing.assert_close(synthesis[0]["optimizer"], synthesis[1]["optimizer"], rtol=0, atol=0)
    assert (found / "metrics.csv").read_bytes() == (wanted / "metrics.csv").read_bytes()
