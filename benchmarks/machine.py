"""Where a figure was measured, and how it is kept: shared by the benchmarks."""

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from purer_lightning.files import replacing

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


def describe_machine() -> dict[str, Any]:
    """Return what a figure depends on; names neither the host nor a path.

    ``load`` is the number of processes that wanted to run in the minute before: above 0 others were at work.
    """
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "commit": commit(),
    }


def processor() -> str:
    """Return the processor's model as Linux names it, else what Python knows."""
    found = Path("/proc/cpuinfo")
    lines = found.read_text().splitlines() if found.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def commit() -> str | None:
    """Return the checkout's commit, or None outside of one."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def headline(machine: dict[str, Any]) -> str:
    """Return the machine in one line, for above a table."""
    return f"{machine['processor']}, {machine['cores']} cores, load {machine['load']}, commit {machine['commit']}"


def write_result(output: Path, result: dict[str, Any]) -> None:
    """Write a result as JSON, atomically, making its folder."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
