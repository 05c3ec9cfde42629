"""The command ``purer``. Nothing heavy is imported before the command is known, so that help answers at once."""

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

from purer_lightning import __version__
from purer_lightning.errors import PurerError, nearest

# command -> (one line of help, module, function), or further words -> the same.
Command = tuple[str, str, str]
COMMANDS: dict[str, Command | dict[str, Command]] = {
    "demo": ("the whole method on an embedded data set, in minutes", "purer_lightning.demo", "demo"),
    "data": {
        "prepare": (
            "turn an archive or folders into a prepared data set",
            "purer_lightning.data.preparation",
            "prepare",
        )
    },
    "pretrain": ("make a pool of teachers from a prepared data set", "purer_lightning.pool.pretraining", "pretrain"),
    "pool": {
        "check": ("show a pool's teachers and verify them", "purer_lightning.pool.checks", "check"),
        "add": ("take your own trained classifier into a pool", "purer_lightning.pool.addition", "add"),
    },
    "fit": ("meta-train on a pool", "purer_lightning.trainer_cli", "run"),
    "validate": ("score a meta-model on meta-val, to choose settings", "purer_lightning.trainer_cli", "run"),
    "test": ("score a meta-model or a baseline on meta-test", "purer_lightning.trainer_cli", "run"),
    "report": ("curves, pictures and results of runs in one HTML file", "purer_lightning.report.page", "report"),
    "configs": {
        "list": ("the bundled configurations, a line each", "purer_lightning.bundled", "list_configs"),
        "show": ("print a bundled configuration", "purer_lightning.bundled", "show_config"),
    },
}
TRAINER_COMMANDS = ("fit", "validate", "test")
ONE_WORD_COMMANDS = ("prepare", "check", "show")  # what they are about follows without a flag
MANY_WORDS_COMMANDS = ("report",)  # the same, and there may be several


def main(args: list[str] | None = None) -> None:
    """Run one command; ``args`` are the words after ``purer``.

    A mistake that the user can mend ends in one sentence on standard error and exit status 1, a mistake in the
    command line in exit status 2.
    """
    words = sys.argv[1:] if args is None else list(args)
    try:
        _dispatch(words)
    except PurerError as error:
        print(f"purer: {error}", file=sys.stderr)
        sys.exit(1)


def _dispatch(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return
    if words[0] == "--version":
        print(f"purer-lightning {__version__}")
        return
    known: dict[str, Any] = COMMANDS
    name, depth = "purer", 0
    while isinstance(known, dict):
        if depth == len(words) or words[depth] in ("-h", "--help"):
            print(_help(name.removeprefix("purer").strip()))
            return
        if words[depth] not in known:
            raise PurerError(
                f"'{name} {words[depth]}' is not a command.{nearest(words[depth], known)} See purer --help."
            )
        name, known, depth = f"{name} {words[depth]}", known[words[depth]], depth + 1
    _, module, function = known
    _run(name, getattr(importlib.import_module(module), function), words[depth - 1 :])


def _run(name: str, function: Callable[..., Any], words: list[str]) -> None:
    """Call ``function`` with its command's words, parsed by its signature; ``words`` begins with the command itself."""
    from jsonargparse import ArgumentError, auto_cli

    from purer_lightning.bundled import resolve_configs
    from purer_lightning.usage import explain, keys_of

    rest = resolve_configs(words[1:])
    try:
        if words[0] in TRAINER_COMMANDS:
            function([words[0], *rest])
        else:
            if words[0] in MANY_WORDS_COMMANDS:
                rest = gathered(rest)
            bare = words[0] in ONE_WORD_COMMANDS + MANY_WORDS_COMMANDS
            auto_cli(function, args=rest, prog=name, exit_on_error=False, as_positional=bare)
    except ArgumentError as error:
        module = importlib.import_module(function.__module__)
        groups = module.GROUPS if words[0] in TRAINER_COMMANDS else {"": function}
        print(f"{name}: {explain(str(error), keys_of(groups))}", file=sys.stderr)
        sys.exit(2)


def gathered(words: list[str]) -> list[str]:
    """Return the words without a flag as one list for the parser, behind the flags, each of which has one value."""
    flags: list[str] = []
    bare: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        is_value = before.startswith("--") and "=" not in before
        (flags if is_value or word.startswith("-") else bare).append(word)
    return [*flags, *([json.dumps(bare)] if bare else [])]


def _help(group: str = "") -> str:
    """Return the list of commands, or of one group's."""
    lines = ["Data-free meta-learning: a pool of classifiers in, a few-shot learner out.", "", "commands:"]
    for name, entry in COMMANDS.items():
        for words, (line, _, _) in ({name: entry} if isinstance(entry, tuple) else _prefixed(name, entry)).items():
            if words.startswith(group):
                lines.append(f"  purer {words:<14} {line}")
    return "\n".join([*lines, "", "Each explains itself: purer COMMAND --help"])


def _prefixed(group: str, entries: dict[str, Command]) -> dict[str, Command]:
    return {f"{group} {name}": entry for name, entry in entries.items()}
