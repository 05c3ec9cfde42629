"""purer doctor: what it finds on this machine, and on others that are worse."""

import sys
from pathlib import Path

import pytest

from purer_lightning.cli import main
from purer_lightning.cli.doctor import (
    Finding,
    data_findings,
    folder_findings,
    importable,
    installed_requirements,
    package_findings,
    slurm_findings,
)

WORSE = ("problem", "stops")


def nothing(program: str) -> None:
    """Find no program of that name."""
    del program


def test_this_machine_can_run_the_main_job_and_doctor_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    said = capsys.readouterr().out
    for area in ("versions", "devices", "Weights & Biases", "Slurm", "compiler", "folders", "data"):
        assert f"\n{area}\n" in said
    assert "kept offline" in said
    assert "The main job can run here" in said.splitlines()[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc, in which nobody can write, is Linux's")
def test_a_folder_that_cannot_be_written_stops_the_main_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir("/proc")
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("The main job cannot run here: cannot write this folder")
    assert "/proc" in last


def test_the_bounds_of_the_package_are_those_compared_with() -> None:
    wanted = installed_requirements()
    assert "2.6.4" in wanted["lightning"][0]
    assert "pytest" not in wanted
    assert [f for f in package_findings(wanted) if f.state in WORSE] == []


@pytest.mark.parametrize(
    ("packages", "state", "said"),
    [
        ({"torch": (">=2.9", None)}, "stops", "torch is not installed"),
        ({"lightning": (">=2.6.4,<2.7", "2.6.3")}, "stops", "malware"),
        ({"lightning": (">=2.6.4,<2.7", "2.7.0")}, "problem", "2.7.0"),
        ({"torch": (">=2.9,<2.14", "2.13.0+cpu")}, "ok", "torch 2.13.0+cpu"),
    ],
)
def test_a_package_is_judged_by_its_bounds(packages: dict[str, tuple[str, str | None]], state: str, said: str) -> None:
    _, found = package_findings(packages)
    assert found.state == state
    assert said in found.text
    assert ("pip install" in found.remedy) == (state != "ok")


def test_a_package_that_cannot_be_imported_stops_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_package.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = importable("broken_package")
    assert found.state == "stops"
    assert "operator torchvision::nms" in found.text
    assert "same index" in found.remedy
    assert list(importable("torch")) == []


@pytest.mark.parametrize(
    ("environment", "wrong"),
    [
        ({}, ""),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "purer", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"}, ""),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "bash", "SLURM_NTASKS": "1"}, ""),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "bash", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"}, "--job-name"),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "purer", "SLURM_NTASKS": "2"}, "put srun before the command"),
    ],
)
def test_a_slurm_job_that_lightning_would_not_see_is_a_problem(environment: dict[str, str], wrong: str) -> None:
    found = [finding for finding in slurm_findings(environment, nothing) if finding.state in WORSE]
    assert [wrong in finding.text for finding in found] == ([True] if wrong else [])


def test_a_missing_folder_is_said_with_its_reason(tmp_path: Path) -> None:
    first, *others = folder_findings(tmp_path / "gone")
    assert first.state == "stops"
    assert "No such file or directory" in first.remedy
    assert {finding.state for finding in others} <= {"ok", "problem"}


def test_prepared_data_and_pools_are_listed(tmp_path: Path, toy_data: Path, toy_pool: Path) -> None:
    (tmp_path / "data").symlink_to(toy_data)
    (tmp_path / "pools").symlink_to(toy_pool.parent)
    assert list(data_findings(tmp_path)) == [
        Finding("data", "ok", "prepared in data/: toy"),
        Finding("data", "ok", "pools: pools/toy"),
    ]
    assert {finding.state for finding in data_findings(tmp_path / "empty")} == {"note"}
