"""Finding what a run's configuration names, wherever the command is given."""

from pathlib import Path

import pytest

from purer_lightning.report.runs import located, read_runs


def test_a_relative_path_is_found_from_any_folder_that_the_run_lies_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    run = project / "runs" / "eci"
    for folder in (run, project / "pools" / "toy", elsewhere):
        folder.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert located("pools/toy", run) == project / "pools" / "toy"
    assert located("pools/other", run) is None
    (elsewhere / "pools" / "toy").mkdir(parents=True)
    assert located("pools/toy", run) == elsewhere / "pools" / "toy"  # where the command is given comes first


def test_a_setting_that_is_absent_or_null_has_the_default(run: Path) -> None:
    (read,) = read_runs([str(run)])
    assert read.setting("data.way") == 3
    assert read.setting("ckpt_path", "none") == "none"
    assert read.setting("data.way.more.still", 7) == 7
    assert read.updates == 12


def test_runs_of_one_name_are_told_apart_by_their_paths(run: Path, finished_run: Path) -> None:
    assert [read.name for read in read_runs([str(run), str(finished_run)])] == [str(run), str(finished_run)]
