"""What the commands tell while they work: in a terminal, and in a pipe as in a log of Slurm."""

import csv
import json
import re
from pathlib import Path

import pytest

from purer_lightning.callbacks.progress import ProgressCallback, with_progress
from purer_lightning.cli import main
from purer_lightning.running import progress
from terminals import pipe, terminal


@pytest.fixture
def flags(toy_data: Path, toy_pool: Path) -> list[str]:
    return [
        *("--config", "demo.yaml", "--data.dataset", "toy", "--data.root", str(toy_data), "--data.pool", str(toy_pool)),
        *("--data.way", "3", "--data.query", "3", "--data.episodes_per_update", "1", "--data.updates_per_epoch", "2"),
        *("--data.validation_episodes", "3", "--data.test_episodes", "5", "--trainer.accelerator", "cpu"),
        *("--model.curriculum.warm_up", "1", "--trainer.max_steps", "4", "--synthesis.initial_steps", "3"),
    ]


def seen(written: str) -> str:
    """Return what was written without the terminal's own signs."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)


def test_a_terminal_shows_inversion_training_and_test(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "TERMINAL_SECONDS", 0.0)
    with terminal(monkeypatch) as written:
        main(["fit", *flags, "--run", str(tmp_path)])
    said = seen(written.text)
    for fact in (
        "initial inversion",
        "3/3",
        "meta-training",
        "4/4",
        "difficulty ",
        "switch fired 1 time",
        "meta-val",
    ):
        assert fact in said, fact
    assert "(best" in said
    assert "Epoch" not in said  # Lightning's own bar
    with terminal(monkeypatch) as written:
        main(["test", *flags, "--ckpt_path", str(tmp_path / "checkpoints" / "best.ckpt")])
    said = seen(written.text)
    for fact in ("testing", "5/5", "plain", "icfil"):
        assert fact in said, fact


def test_a_pipe_gets_lines_that_can_be_read(flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    flags = [*flags, "--data.validation_episodes", "9"]
    with pipe(monkeypatch) as written:
        main(["fit", *flags, "--run", str(tmp_path)])
    lines = written.text.splitlines()
    assert "\x1b" not in written.text
    assert [line.split(",")[0] for line in lines if line.startswith("initial")][-1] == "initial inversion: 3 of 3 steps"
    training = [line for line in lines if line.startswith("meta-training")]
    assert training[0].startswith("meta-training: 1 of 4 updates, difficulty ")
    assert "left" in training[0]
    assert any("validating (8 of 9)" in line for line in training)
    assert re.search(
        r"4 of 4 updates.*switch fired 1 time, meta-val \d+\.\d % \(best \d+\.\d %\), \d+ s$", training[-1]
    )
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 60.0)
    with pipe(monkeypatch) as written:
        main(["validate", *flags, "--ckpt_path", str(tmp_path / "checkpoints" / "best.ckpt")])
    (line,) = [line for line in written.text.splitlines() if line.startswith("validating")]
    assert re.search(r"^validating: 9 of 9 episodes, plain \d+\.\d %, icfil \d+\.\d %, \d+ s$", line)


def test_a_command_ends_with_what_it_found_and_where_that_lies(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", *flags, "--run", str(tmp_path)])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"The run's folder is {tmp_path}; to look at it: purer report {tmp_path}"
    for command, episodes in (("validate", 3), ("test", 5)):
        main([command, *flags, "--ckpt_path", str(tmp_path / "checkpoints" / "best.ckpt")])
        last = capsys.readouterr().out.splitlines()[-1]
        file = tmp_path / command / "results.json"
        found = json.loads(file.read_text())["results"][-1]
        shown = [
            f"{name} {100 * found[key]['mean']:.1f} ± {100 * found[key]['ci95']:.1f} %"
            for name, key in (("plain", "plain"), ("icfil", "icfil"), ("icfil minus plain", "icfil_minus_plain"))
        ]
        assert last == f"{episodes} episodes: {', '.join(shown)}; kept in {file}"


def test_a_resumed_run_knows_the_best_of_its_earlier_start(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = []
    for updates, more in (("2", []), ("4", ["--ckpt_path", "last", "--model.meta_lr", "1"])):  # a rate that spoils it
        with pipe(monkeypatch) as written:
            main(["fit", *flags, "--run", str(tmp_path), "--trainer.max_steps", updates, *more])
        best.append(float(re.findall(r"\(best (\d+\.\d) %\)", written.text)[-1]))
    scores = [float(row["val/accuracy"]) for row in csv.DictReader((tmp_path / "times.csv").read_text().splitlines())]
    assert len(scores) == 2
    assert scores[1] < scores[0]
    assert best == [pytest.approx(100 * scores[0], abs=0.05)] * 2


def test_pre_training_tells_each_teacher_and_how_many_there_are(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = ["--teachers", "2", "--way", "3", "--epochs", "1", "--pool", str(tmp_path / "pool")]
    with pipe(monkeypatch) as written:
        main(["pretrain", "--dataset", "toy", "--root", str(toy_data), *sizes])
    assert "teacher_00: conv4, held-out accuracy" in written.text
    assert re.search(r"pre-training: 2 of 2 teachers, \d+ s\n", written.text)


def test_progress_can_be_turned_off_or_told_by_another_bar(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pipe(monkeypatch) as written:
        main(["fit", *flags, "--run", str(tmp_path), "--trainer.enable_progress_bar", "false"])
    assert "meta-training" not in written.text
    assert "inversion" not in written.text
    mine = ProgressCallback()
    assert with_progress([mine], wanted=True) == [mine]
    assert [type(callback) for callback in with_progress(None, wanted=True)] == [ProgressCallback]


def test_progress_changes_no_result(flags: list[str], tmp_path: Path) -> None:
    main(["fit", *flags, "--run", str(tmp_path / "with")])
    main(["fit", *flags, "--run", str(tmp_path / "without"), "--trainer.enable_progress_bar", "false"])
    curves = [(tmp_path / name / "metrics.csv").read_text() for name in ("with", "without")]
    assert curves[0] == curves[1]
