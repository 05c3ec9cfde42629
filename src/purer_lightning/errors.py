"""The one kind of exception that is meant for users: a sentence that says what, where, and what to change."""

from collections.abc import Iterable
from difflib import get_close_matches


class PurerError(Exception):
    """A mistake that the user can mend. The command line prints its sentence without a traceback and exits with 1."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the known name closest to ``name``, or an empty string."""
    matches = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{matches[0]}'?" if matches else ""
