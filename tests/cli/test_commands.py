"""Finding one's way: help by what a user wants to do, and the lists that lead on."""

import importlib
import subprocess
import sys

import pytest

from purer_lightning.cli import COMMANDS, main
from purer_lightning.cli.configs import bundled_configs

EVERY = [name for commands in COMMANDS.values() for name in commands]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main([*words])
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*words])
    assert ended.value.code in (1, 2)
    return capsys.readouterr().err


def test_help_names_every_command_once_under_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "--help").splitlines()
    shown = [line.split("  ")[1] for line in lines if line.startswith("  purer ")]
    assert shown == [f"purer {name}" for name in EVERY]
    assert [line for line in lines if f"{line.removesuffix(':')}:" == line] == [f"{wish}:" for wish in COMMANDS]
    assert said(capsys) == said(capsys, "-h")


def test_help_lines_are_aligned_and_fit_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for line in said(capsys).splitlines() if line.startswith("  purer ")]
    assert max(map(len, lines)) <= 100
    assert len({len(line) - len(line[2:].split("  ", 1)[1].lstrip()) for line in lines}) == 1


@pytest.mark.parametrize("name", EVERY)
def test_every_command_leads_to_a_function_that_says_what_it_does(name: str) -> None:
    (entry,) = [commands[name] for commands in COMMANDS.values() if name in commands]
    function = getattr(importlib.import_module(entry[1]), entry[2])
    assert function.__doc__


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from purer_lightning.cli import main; main(['--help']); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "purer_lightning.cli" in modules
    heavy = {"torch", "lightning", "numpy", "matplotlib", "jsonargparse", "wandb", "rich", "PIL", "plotly"}
    assert not heavy.intersection(modules)


@pytest.mark.parametrize("words", [["pool"], ["pool", "--help"]])
def test_a_first_word_alone_lists_what_goes_on_from_it(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, *words)
    assert "purer pool add" in text
    assert "purer pool check" in text
    assert "purer fit" not in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["tets"], "'purer tets' is not a command. Did you mean 'test'?"),
        (["pool", "chek"], "'purer pool chek' is not a command. Did you mean 'check'?"),
        (["configs", "shwo", "demo.yaml"], "'purer configs shwo' is not a command. Did you mean 'show'?"),
    ],
)
def test_a_misspelt_command_is_met_with_the_nearest(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refused(capsys, *words)


def test_configs_lists_every_bundled_configuration_with_a_sentence_about_it(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [line.split(maxsplit=1) for line in said(capsys, "configs").splitlines()]
    assert [name for name, _ in rows] == list(bundled_configs())
    assert len(rows) > 5
    assert all(20 < len(sentence) < 130 and sentence.endswith(".") for _, sentence in rows)


def test_configs_show_prints_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "configs", "show", "demo.yaml") == bundled_configs()["demo.yaml"].read_text()
    sentence = refused(capsys, "configs", "show", "demo.yam")
    assert "Did you mean 'demo.yaml'?" in sentence
    assert "cifar_fs.yaml" not in sentence  # where one is near, the others only hide it
