"""The scripts of experiments/: the table's arithmetic and sentences, and what run.sh calls."""

import csv
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from purer_lightning.bundled import bundled_configs, resolve_configs

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
ROWS = ["random", "average", "teacher_centroid", "pool_logits_centroid", "ei", "eci"]

# Stand-ins that note what they are called with; `purer` leaves the files that the script asks for.
PURER = r"""#!/bin/bash
echo "$@" >> "$LOG"
[[ -n "$FAILING" && "$*" == *"$FAILING"* ]] && exit 3
while [ $# -gt 0 ]; do [ "$1" = --run ] && run=$2; [ -z "$command" ] && command=$1; shift; done
if [ "$command" = fit ]; then mkdir -p "$run"; touch "$run/summary.json" "$run/metrics.csv" "$run/metrics.1.csv"; fi
if [ "$command" = test ]; then mkdir -p "$run/test"; touch "$run/test/results.json"; fi
exit 0
"""
STAND_INS = {"purer": PURER, "git": "#!/bin/bash\necho abc1234-dirty\n", "python": '#!/bin/bash\necho "$@" >> "$LOG"\n'}


@pytest.fixture(scope="module")
def table() -> ModuleType:
    """The script, imported by its path."""
    spec = importlib.util.spec_from_file_location("experiments_table", EXPERIMENTS / "table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_row(results: Path, name: str, plain: list[float], shot: int = 1, **changed: Any) -> Path:
    """Write what a test leaves behind, with these accuracies by episode."""
    folder = results / f"{name}_{shot}shot"
    (folder / "test").mkdir(parents=True)
    mean = {"mean": sum(plain) / len(plain), "ci95": 0.01}
    result = {"dataset": "d", "split": "test", "way": 5, "shot": shot, "query": 15, "seed": 0, "transductive": True}
    result |= {"results": [{"episodes": 600, "plain": mean, "icfil": mean}]} | changed
    (folder / "test" / "results.json").write_text(json.dumps(result))
    with (folder / "test" / "episodes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["episode", "plain"], *enumerate(plain)])
    (folder / "commit.txt").write_text("7e57ed0\n")
    return folder


def run_script(folder: Path, failing: str = "") -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Run run.sh in an empty repository with stand-ins for purer, python and git; return it and their calls."""
    for name, text in STAND_INS.items():
        file = folder / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    (folder / "experiments").mkdir(exist_ok=True)
    script = shutil.copy(EXPERIMENTS / "run.sh", folder / "experiments")
    log = folder / "calls"
    log.unlink(missing_ok=True)
    said = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "LOG": str(log), "FAILING": failing}
    environment = os.environ | said | {"PURER": str(folder / "bin" / "purer")}
    command = [script, "archive.zip"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done, [shlex.split(line) for line in log.read_text().splitlines()]


def test_the_paired_interval_is_that_of_the_differences(table: ModuleType, tmp_path: Path) -> None:
    write_row(tmp_path, "eci", [0.5, 0.1, 0.9, 0.3])
    write_row(tmp_path, "ei", [0.4, 0.1, 0.7, 0.2])
    found = table.paired(table.read_row(tmp_path, "eci", 1), table.read_row(tmp_path, "ei", 1))
    # Differences 0.1, 0, 0.2, 0.1: mean 0.1, sample variance 0.02 / 3, over 4 episodes.
    assert found.mean == pytest.approx(0.1)
    assert found.ci95 == pytest.approx(1.959964 * (0.02 / 3 / 4) ** 0.5)
    assert found.episodes == 4


def test_a_row_of_fewer_episodes_is_paired_on_the_common_ones(table: ModuleType, tmp_path: Path) -> None:
    write_row(tmp_path, "eci", [0.1, 0.2, 0.9])
    write_row(tmp_path, "random", [0.1, 0.1])
    one, other = table.read_row(tmp_path, "eci", 1), table.read_row(tmp_path, "random", 1)
    assert table.paired(one, other).mean == pytest.approx(0.05)
    assert table.paired(one, other).episodes == 2


@pytest.mark.parametrize(("plain", "changed"), [([0.1, 0.2], {"seed": 1}), ([0.1, 0.2, 0.3], {"query": 1})])
def test_rows_of_other_episodes_are_not_paired(
    table: ModuleType, tmp_path: Path, plain: list[float], changed: dict[str, int]
) -> None:
    write_row(tmp_path, "eci", [0.1, 0.2])
    write_row(tmp_path, "random", plain, **changed)
    with pytest.raises(ValueError, match="the same episodes"):
        table.report(tmp_path)


def test_the_sentence_sorts_each_training_free_baseline_by_its_paired_interval(
    table: ModuleType, tmp_path: Path
) -> None:
    write_row(tmp_path, "eci", [0.30, 0.41, 0.50, 0.61])
    write_row(tmp_path, "random", [0.20, 0.30, 0.41, 0.50])
    write_row(tmp_path, "average", [0.31, 0.40, 0.51, 0.60])
    write_row(tmp_path, "pool_logits_centroid", [0.50, 0.60, 0.71, 0.80])
    sentence = (
        "1-shot: 'ECI + MAML (PURER)', without ICFIL, is above 'random start, fine-tuned'; not told apart from "
        "'average of the teachers, fine-tuned'; below 'all teachers' logits + nearest centroid'."
    )
    report = table.report(tmp_path)
    assert sentence in report
    assert "| ECI + MAML (PURER) - random start, fine-tuned | 1 | 4 | 10.25 ±" in report
    assert "5-shot: there is no training-free baseline to compare with yet." in report


def test_a_row_counts_from_results_json_on_and_a_table_of_nothing_is_a_table(table: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "eci_1shot").mkdir()
    (tmp_path / "eci_1shot" / "summary.json").write_text("{}")
    assert table.read_row(tmp_path, "eci", 1) is None
    assert table.COLUMNS in table.report(tmp_path)


def test_updates_minutes_and_machine_are_the_summarys_and_the_commit_is_the_fits(
    table: ModuleType, tmp_path: Path
) -> None:
    folder = write_row(tmp_path, "eci", [0.5, 0.5])
    summary = {"updates": 1234, "minutes": 9.6, "peak_memory_gib": 0.7, "cores": 2, "threads": 1}
    (folder / "summary.json").write_text(json.dumps(summary | {"machine": "riscv", "torch": "9.9"}))
    assert "7e57ed0 (test)" in table.report(tmp_path)
    (folder / "fit_commit.txt").write_text("aaa\nbbb-dirty\naaa\n")
    report = table.report(tmp_path)
    cells = "| yes | 50.00 ± 1.00 | 50.00 ± 1.00 | - | - | - | 10 | 0.7 | aaa, bbb-dirty (fit) |"
    assert f"| ECI + MAML (PURER), 1,234 updates | 1 {cells}" in report
    assert "2 cores, 1 threads a fit, riscv, torch 9.9" in report


def test_run_sh_keeps_every_part_of_the_metrics_and_the_commits_of_fit_and_test(tmp_path: Path) -> None:
    done, calls = run_script(tmp_path)
    assert done.returncode == 0, done.stderr
    assert calls[-1] == ["experiments/table.py"]
    folders = {
        folder.name: {file.name for file in folder.iterdir()} for folder in tmp_path.glob("experiments/results/*")
    }
    assert folders.keys() == {f"{name}_{shot}shot" for name in ROWS for shot in (1, 5)}
    assert all({"commit.txt", "test"} <= files for files in folders.values())
    assert {"fit_commit.txt", "summary.json", "metrics.csv", "metrics.1.csv"} < folders["ei_5shot"]
    assert (tmp_path / "experiments/results/ei_5shot/fit_commit.txt").read_text() == "abc1234-dirty\n"
    again, calls = run_script(tmp_path)
    assert again.returncode == 0
    assert [call[0] for call in calls] == ["data", "pretrain", "experiments/table.py"]


def test_run_sh_stops_with_a_sentence_where_a_job_in_the_background_fails(tmp_path: Path) -> None:
    done, calls = run_script(tmp_path, failing="--run runs/eci_1shot")
    assert done.returncode == 1
    assert "'fit_row eci_1shot cifar_fs_small.yaml' failed" in done.stderr
    assert {call[0] for call in calls} == {"data", "pretrain", "fit"}
    assert not any("5shot" in word for call in calls for word in call)


def test_every_configuration_and_flag_of_run_sh_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, calls = run_script(tmp_path)
    named = {call[i + 1] for call in calls for i, word in enumerate(call) if word == "--config"}
    assert len(named) == 6 and named <= bundled_configs().keys()
    monkeypatch.chdir(tmp_path)
    from purer_lightning.trainer_cli import run

    kept = _longest([call for call in calls if call[0] in ("fit", "test")])
    assert {call[0] for call in kept} == {"fit", "test"}
    for call in kept:
        with pytest.raises(SystemExit) as ended:
            run([*resolve_configs(call), "--print_config"])
        assert ended.value.code in (0, None), call
    assert capsys.readouterr().out.count("max_steps: 600") == len(kept)


def _longest(calls: list[list[str]]) -> list[list[str]]:
    """Leave out the calls whose words all stand in another; parsing takes a second each.

    Paths play no part in that, nor do a test's shots: the fits have both shots' configurations read.
    """
    kept: dict[frozenset[str], list[str]] = {}
    for call in calls:
        told = [word if call[0] == "fit" else word.replace("_5shot", "") for word in call]
        kept.setdefault(frozenset(word for word in told if "runs/" not in word and "results/" not in word), call)
    return [call for words, call in kept.items() if not any(words < other for other in kept)]
