"""Consoles that lack letters, colours or width end no command, and the commands that are printed can be pasted."""

import csv
import io
import shlex
import sys
from pathlib import Path

import pytest

from purer_lightning.cli import main
from purer_lightning.learners import Maml
from runs import WIDTH, built, write_glyphs, write_run

NAMES = ("猫", "Café", "🐕")


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """An adaptation to three classes of unusual names, in folders of unusual names."""
    run = write_run(tmp_path / "mein Läufchen (1)", built(Maml("conv4", WIDTH, inner_steps=1, batchnorm="support")))
    for part, name in zip(("digit two", "heart", "airplane"), NAMES, strict=True):
        (write_glyphs(tmp_path / "Bilder", {part: 2}) / part).rename(tmp_path / "Bilder" / name)
    pictures = str(tmp_path / "Bilder")
    output = str(tmp_path / "Ausgabe 猫.csv")
    return ["adapt", "--ckpt_path", str(run), "--support", pictures, "--query", pictures, "--output", output]


def console(monkeypatch: pytest.MonkeyPatch, encoding: str, words: list[str]) -> tuple[str, str]:
    """Run ``purer`` with standard streams of an encoding, and return what is printed."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["purer", *words])
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        main()
    for stream in streams:
        stream.flush()
    out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams)
    return out, err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "cp437"])
def test_a_name_that_the_console_lacks_is_escaped_and_the_file_is_utf8(
    encoding: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = console(monkeypatch, encoding, words)
    assert ("猫" if encoding == "utf-8" else r"\u732b") in out
    with Path(words[-1]).open(newline="", encoding="utf-8") as file:
        assert {row["folder"] for row in csv.DictReader(file)} == set(NAMES)


@pytest.mark.parametrize(
    "variables",
    [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"COLUMNS": "12"}, {"COLUMNS": "1"}, {"FORCE_COLOR": "1", "TERM": "dumb"}],
    ids=str,
)
def test_poor_and_narrow_terminals_end_no_command(
    variables: dict[str, str], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    console(monkeypatch, "ascii", words)
    assert Path(words[-1]).is_file()
    console(monkeypatch, "ascii", ["configs"])


def test_the_library_leaves_the_streams_of_its_caller_as_they_are(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        main(words)
    assert stream.errors == "strict"


def test_printed_commands_can_be_pasted(
    toy_data: Path, toy_pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "it's my run (1) & more"
    few = [
        *("fit", "--config", "demo.yaml", "--data.dataset", "toy", "--data.root", str(toy_data)),
        *("--data.pool", str(toy_pool), "--data.way", "2", "--data.query", "1", "--data.episodes_per_update", "1"),
        *("--data.updates_per_epoch", "1", "--data.validation_episodes", "2", "--synthesis.initial_steps", "1"),
        *("--model.learner.init_args.arguments", "{width: 4}", "--trainer.accelerator", "cpu"),
        *("--trainer.max_steps", "1", "--trainer.enable_progress_bar", "false", "--run", str(run)),
    ]
    main(few)
    printed = capsys.readouterr().out.rpartition("to look at it: ")[2]
    assert shlex.split(printed) == ["purer", "report", str(run)]
    main(shlex.split(printed)[1:])
    assert (run / "report.html").is_file()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(few)
    again = capsys.readouterr().err.rpartition("continue that one with ")[2].rstrip(".\n")
    assert shlex.split(again) == ["--run", str(run), "--ckpt_path", "last"]
