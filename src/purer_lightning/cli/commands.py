"""The command ``purer``. Nothing heavy is imported before the command is known, so that help answers at once."""

import importlib
import io
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from purer_lightning import __version__
from purer_lightning.errors import PurerError, nearest
from purer_lightning.running.slurm import check_start

# What a user wants to do -> the words of a command -> (one line of help, module, function).
Command = tuple[str, str, str]
COMMANDS: dict[str, dict[str, Command]] = {
    "try it": {
        "demo": ("the whole method on an embedded data set, in minutes", "purer_lightning.cli.demo", "demo"),
    },
    "get ready": {
        "data prepare": (
            "turn an archive or folders into a prepared data set",
            "purer_lightning.data.preparation",
            "prepare",
        ),
        "pretrain": ("make a pool of teachers from a data set", "purer_lightning.pool.pretraining.command", "pretrain"),
        "pool add": ("take your own trained classifier into a pool", "purer_lightning.pool.addition", "add"),
        "pool check": ("show a pool's teachers and verify them", "purer_lightning.pool.checks", "check"),
    },
    "train and score": {
        "fit": ("meta-train on a pool", "purer_lightning.cli.trainer", "run"),
        "validate": ("score a meta-model on meta-val, to choose settings", "purer_lightning.cli.trainer", "run"),
        "test": ("score a meta-model or a baseline on meta-test", "purer_lightning.cli.trainer", "run"),
    },
    "use and look": {
        "adapt": (
            "learn your own classes from a few pictures each, label others",
            "purer_lightning.adaptation.command",
            "adapt",
        ),
        "dashboard": ("a W&B workspace of the curriculum", "purer_lightning.running.tracking.dashboard", "dashboard"),
        "report": ("curves, pictures and results of runs in one HTML file", "purer_lightning.report.page", "report"),
    },
    "find your way": {
        "configs": ("the bundled configurations, a line each", "purer_lightning.cli.configs", "list_configs"),
        "configs show": ("print a bundled configuration", "purer_lightning.cli.configs", "show_config"),
        "doctor": ("what this machine has, and what is wrong with it", "purer_lightning.cli.doctor", "doctor"),
    },
}
HELP = ("-h", "--help")
TRAINER_COMMANDS = ("fit", "validate", "test")
SEVERAL_WORDS = {"adapt": ("--query", "--export")}  # flags that take as many words as follow
NAME_LISTS = {"add": ("--class_names",)}  # flags of lists of names, which stay as they are typed
ONE_WORD_COMMANDS = ("prepare", "check", "show")  # what they are about follows without a flag
MANY_WORDS_COMMANDS = ("report",)  # the same, and there may be several


def main(args: list[str] | None = None) -> None:
    """Run one command; ``args`` are the words after ``purer``.

    A mistake that the user can mend ends in one sentence on standard error and exit status 1, a mistake in the
    command line in exit status 2, Ctrl-C in 130.
    """
    if args is None:  # a command of its own, so its standard streams are ours
        _print_anything()
    words = sys.argv[1:] if args is None else list(args)
    try:
        _dispatch(words)
    except PurerError as error:
        print(f"purer: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("purer: stopped by Ctrl-C.", file=sys.stderr)
        sys.exit(130)  # as a shell says it


def _print_anything() -> None:
    """Let what the console's encoding lacks be printed as an escape instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _dispatch(words: list[str]) -> None:
    if not words or words[0] in HELP:
        print(_help())
        return
    if words[0] == "--version":
        print(f"purer-lightning {__version__}")
        return
    commands = {name: entry for group in COMMANDS.values() for name, entry in group.items()}
    if " ".join(words[:2]) in commands:
        _start(commands, words[:2], words[2:])
        return
    further = [name.partition(" ")[2] for name in commands if name.startswith(f"{words[0]} ")]
    asked = words[1] if len(words) > 1 else ""
    if further and (asked in HELP or not (asked or words[0] in commands)):
        print(_help(words[0]))
    elif further and asked and not asked.startswith("-"):
        raise _unknown(f"{words[0]} {asked}", nearest(asked, further))
    elif words[0] not in commands:
        raise _unknown(words[0], nearest(words[0], {name.partition(" ")[0] for name in commands}))
    else:
        _start(commands, words[:1], words[1:])


def _unknown(name: str, near: str) -> PurerError:
    return PurerError(f"'purer {name}' is not a command.{near} See purer --help.")


def _start(commands: dict[str, Command], name: list[str], rest: list[str]) -> None:
    if name[0] in TRAINER_COMMANDS:
        check_start(os.environ)
    _, module, function = commands[" ".join(name)]
    _run(" ".join(["purer", *name]), getattr(importlib.import_module(module), function), [name[-1], *rest])


def _run(name: str, function: Callable[..., Any], words: list[str]) -> None:
    """Call ``function`` with its command's words, parsed by its signature; ``words`` begins with the command itself."""
    from jsonargparse import ArgumentError, auto_cli

    from purer_lightning.cli.configs import resolve_configs
    from purer_lightning.cli.messages import explain, joined_after, keys_of, names_as_typed

    rest = joined_after(resolve_configs(words[1:]), SEVERAL_WORDS.get(words[0], ()))
    rest = names_as_typed(rest, NAME_LISTS.get(words[0], ()))
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
    """Return the words without a flag as one list for the parser, before the flags, each of which has one value."""
    flags: list[str] = []
    bare: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        is_value = before.startswith("--") and "=" not in before
        (flags if is_value or word.startswith("-") else bare).append(word)
    return [*([json.dumps(bare)] if bare else []), *flags]


def _help(first: str = "") -> str:
    """Return the commands by what they are for, or only those that begin with the word ``first``."""
    lines = ["Data-free meta-learning: a pool of classifiers in, a few-shot learner out."]
    for wish, commands in COMMANDS.items():
        shown = {name: entry[0] for name, entry in commands.items() if first in ("", name.partition(" ")[0])}
        lines += ["", f"{wish}:"] if shown else []
        lines += [f"  purer {name:<14} {line}" for name, line in shown.items()]
    return "\n".join([*lines, "", "Each explains itself: purer COMMAND --help"])
