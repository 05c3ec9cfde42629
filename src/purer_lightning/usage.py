"""Between the user's words and the parser's: several words a flag, and errors as one sentence with the nearest key."""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pydoc import locate
from typing import Any

from purer_lightning.errors import nearest


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
    return re.sub(r"\s*\n\s*", " ", message)


def _nearest_dotted(key: str, known: Iterable[str]) -> str:
    """Look for the nearest whole key, then, for a misspelt group, for the nearest first word."""
    known = list(known)
    groups = {name.partition(".")[0] for name in known}
    group = key.partition(".")[0]
    return nearest(group, groups) if "." in key and group not in groups else nearest(key, known)
