"""How parts are found by name: ours, those of installed packages, and classes that the user names by their path.

A file that comes from elsewhere (a pool, a checkpoint) may name a part of ours or of an installed package. Only what
the user types or writes into a configuration is imported by its path.
"""

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from purer_lightning.errors import PurerError, nearest

Part = TypeVar("Part")


def installed(kind: str) -> dict[str, EntryPoint]:
    """Return what installed packages offer by name: their entry points of the group ``purer_lightning.KIND``.

    Args:
        kind: in the plural, such as "networks".
    """
    return {point.name: point for point in entry_points(group=f"purer_lightning.{kind}")}


def by_name(
    kind: str, name: str, ours: Mapping[str, Any], check: Callable[[Any, str], Part], group: str | None = None
) -> Part:
    """Return the part of this name: ours, or an installed package's.

    Args:
        kind: in the plural, such as "networks".
        name: as a file or a user gives it.
        ours: this package's parts by name; they win over installed ones.
        check: returns its first argument if that is such a part, and raises PurerError otherwise; its second argument
            says where the part comes from.
        group: of entry points; ``kind`` where it is not given.

    Raises:
        PurerError: there is no part of this name, or an installed one cannot be imported or is of another kind.
    """
    if name in ours:
        return check(ours[name], f"'{name}'")
    points = installed(group or kind)
    if name not in points:
        known = sorted({*ours, *points})
        raise PurerError(
            f"Expected one of the {kind} {', '.join(known)}, but got '{name}'.{nearest(name, known)} Install "
            f"the package that offers it, or name your own class by its path, such as package.module.Class."
        )
    package = points[name].dist
    where = f"'{name}', which {package.name if package else 'an installed package'} offers"
    try:
        part = points[name].load()
    except (ImportError, AttributeError) as error:
        raise PurerError(f"{where}, cannot be imported ({error}); install that package again.") from error
    return check(part, where)


def by_path(path: str, flag: str, check: Callable[[Any, str], Part]) -> Part:
    """Import a part of the user's own: only ever with a path that the user gave.

    Args:
        path: such as ``package.module.Class``.
        flag: the flag or key that the user gave it by, for the sentence.
        check: as for ``by_name``.

    Raises:
        PurerError: there is no such module or class, or it is of another kind.
    """
    module, _, name = path.rpartition(".")
    try:
        part = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise PurerError(
            f"Expected {flag} to be package.module.ClassName, but '{path}' cannot be imported ({error}); give its "
            "whole path, and start where Python finds the package."
        ) from error
    return check(part, f"{flag} '{path}'")


def subclass_of(base: type[Part]) -> Callable[[Any, str], type[Part]]:
    """Return a check, for ``by_name`` and ``by_path``, that a part is a subclass of ``base``."""

    def check(part: Any, where: str) -> type[Part]:
        if not (isinstance(part, type) and issubclass(part, base)):
            raise PurerError(
                f"Expected a subclass of {base.__module__}.{base.__qualname__}, but {where} is none; name a class that "
                "is derived from it."
            )
        return part

    return check


class Registry(Generic[Part]):
    """Parts of one kind by name, and by the paths that the user of this process has named.

    Args:
        kind: in the plural, such as "networks".
        ours: this package's by name.
        check: see ``by_name``.
        group: of entry points; ``kind`` where it is not given.
    """

    def __init__(
        self, kind: str, ours: Mapping[str, Part], check: Callable[[Any, str], Part], group: str | None = None
    ) -> None:
        self.kind, self.ours, self.check, self.group = kind, ours, check, group or kind
        self.named: dict[str, Part] = {}

    def name(self, path: str, flag: str) -> None:
        """Let a part of the user's own be found, here and where a pool or a checkpoint names it.

        Args:
            path: such as ``package.module.Class``. A name without a dot needs no naming.
            flag: the flag or key that the user gave it by.

        Raises:
            PurerError: it cannot be imported, or is no such part.
        """
        if "." in path:
            self.named[path] = by_path(path, flag, self.check)

    def find(self, name: str) -> Part:
        """Return a part of this name; raises as ``by_name`` does."""
        return by_name(self.kind, name, {**self.ours, **self.named}, self.check, self.group)
