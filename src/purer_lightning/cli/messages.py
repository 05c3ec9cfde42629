"""Between the user's words and the parser's: several words a flag, and errors as one sentence with the nearest key."""

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pydoc import locate
from typing import Any

import yaml

from purer_lightning.errors import PurerError, nearest

KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "NoneType": "null"}


def joined_after(words: Iterable[str], flags: Iterable[str]) -> list[str]:
    """Join the words that follow one of ``flags``, such as those of ``--query *.jpg``, into the list that it takes."""
    joined: list[str] = []
    several: list[str] | None = None
    for word in [*words, "--"]:
        if word.startswith("--"):
            if several is not None:
                joined.append(json.dumps(several))
            flag, equals, value = word.partition("=")
            several = ([value] if equals else []) if flag in flags else None
            joined.append(word if several is None else f"{flag}+")
        elif several is None:
            joined.append(word)
        else:
            several.append(word)
    return joined[:-1]


def names_as_typed(words: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Rewrite the lists of names that follow ``flags`` so that the parser keeps each name as it is typed.

    YAML would read 01, 1e3, no, null and 2020-01-01 as numbers, booleans, nothing and dates.

    Raises:
        PurerError: what follows is no list of names.
    """
    rewritten: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        flag, equals, value = word.partition("=")
        if before in flags:
            rewritten.append(_names(before, word))
        elif equals and flag in flags:
            rewritten.append(f"{flag}={_names(flag, value)}")
        else:
            rewritten.append(word)
    return rewritten


def _names(flag: str, value: str) -> str:
    try:
        names = yaml.load(value, yaml.BaseLoader)  # reads every word as text, and makes nothing else
    except yaml.YAMLError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise PurerError(
            f"Expected {flag} to be a list of names in brackets, such as '[ant, bee]', but got '{value}'; put names "
            "that contain commas, colons or brackets in quotes."
        )
    return json.dumps(names)


def keys_of(groups: Mapping[str, Callable[..., Any]]) -> list[str]:
    """Return the dotted keys of a configuration: ``group.parameter``; the group '' has no dot."""
    keys = []
    for group, callable_ in groups.items():
        keys += [f"{group}.{name}".lstrip(".") for name in inspect.signature(callable_).parameters if name != "self"]
    return keys + [group for group in groups if group]


def explain(message: str, known: Iterable[str]) -> str:
    """Return the innermost cause of a parser's message.

    Args:
        message: of jsonargparse; several lines for a key that is deep in a class or a union of types.
        known: valid dotted keys outside of classes that are chosen by ``class_path``.
    """
    inner = re.search(r"given class_path '([\w.]+)':\s+Option '([\w.]+)' is not accepted", message)
    if inner:
        class_path, key = inner.groups()
        group = re.search(r'key "([\w.]+)"', message)
        accepted = keys_of({"": locate(class_path)})  # type: ignore[dict-item]  # it has just been parsed
        where = f"{group.group(1)}.{key}" if group else key
        return f"'{where}' is not a setting of {class_path.rpartition('.')[2]}.{nearest(key, accepted)}"
    outer = re.search(r"does not accept option '([\w.]+)'", message) or re.search(
        r"unrecognized arguments: --([\w.]+)", message
    )
    if outer:
        return f"'{outer.group(1)}' is not a setting.{_nearest_dotted(outer.group(1), known)}"
    line = re.sub(r"\s*\n\s*", " ", message)
    return _nothing_given(line) or _no_class(line) or _wrong_value(line) or line


def _nothing_given(message: str) -> str | None:
    """Return a sentence on what is missing; None if nothing is."""
    if flag := re.search(r"argument (--[\w.]+): expected one argument", message):
        return f"Expected a value after {flag.group(1)}, but found none."
    if missing := re.search(r"the following arguments are required: ([\w., ]+)", message):
        names = re.sub(r"\b(fit|validate|test)\.", "", missing.group(1))
        known = "give a configuration by --config (purer configs lists those at hand)"
        return f"Missing: {names}; {known if '.' in names else '--help explains what it takes'}."
    return None


def _no_class(message: str) -> str | None:
    """Return a sentence on a class that does not exist; None if the error is another one."""
    if inside := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", message):
        module, name = inside.groups()
        return f"There is no class '{name}' in {module}.{nearest(name, dir(locate(module)))}"
    if bare := re.search(r'key "([\w.]+)": .*Expected a dot import path string: (\S+)', message):
        key, name = bare.groups()
        return f"Expected {key} to be a class, as a known name or package.module.Class, but there is no '{name}'."
    return None


def _wrong_value(message: str) -> str | None:
    """Return a sentence on the expected and the actual value; None if the message does not tell them."""
    keys, given = re.findall(r'key "([\w.]+)"', message), re.search(r"(?:Got|Given) value: (.*)$", message)
    expected = message.partition("Errors:")[0]  # which repeats them, less exactly
    choices = [str(choice) for found in re.findall(r"Literal(\[.*?\])", expected) for choice in ast.literal_eval(found)]
    kinds = [KINDS[kind] for kind in re.findall(r"<class '(\w+)'>", expected) if kind in KINDS]
    alternatives = list(dict.fromkeys([*choices, *kinds]))
    if not (keys and given and alternatives):
        return None
    listed = " or ".join(filter(None, [", ".join(alternatives[:-1]), alternatives[-1]]))
    return f"Expected {'.'.join(keys)} to be {listed}, but got '{given.group(1)}'.{nearest(given.group(1), choices)}"


def _nearest_dotted(key: str, known: Iterable[str]) -> str:
    """Look for the nearest whole key, then, for a misspelt group, for the nearest first word."""
    known = list(known)
    groups = {name.partition(".")[0] for name in known}
    group = key.partition(".")[0]
    return nearest(group, groups) if "." in key and group not in groups else nearest(key, known)
