"""Pictures that are there more than once: by their pixels, so that neither name nor format hides a copy."""

import hashlib
from typing import NamedTuple

import numpy as np


class _Place(NamedTuple):
    split: str
    class_name: str
    where: str


def fingerprint(pixels: np.ndarray) -> bytes:
    """Return what pictures of the same pixels, shape and type alone have in common, 16 bytes."""
    return hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()


class Copies:
    """Counts pictures of a data set whose pixels it has seen before."""

    def __init__(self) -> None:
        self._first: dict[bytes, _Place] = {}
        self._between: dict[str, list[str]] = {"splits": [], "classes": [], "": []}

    def see(self, pixels: np.ndarray, split: str, class_name: str, where: str) -> None:
        """Take note of a picture as the data set stores it."""
        place = _Place(split, class_name, where)
        first = self._first.setdefault(fingerprint(pixels), place)
        if first is place:
            return
        kind = "splits" if first.split != split else "classes" if first.class_name != class_name else ""
        self._between[kind].append(f"one is {where}, a copy of {first.where}")

    def notes(self) -> list[str]:
        """Return a sentence for each kind of copies that there are."""
        harm = {
            "splits": "in more than one split, so that a test on unseen classes proves less",
            "classes": "in more than one class, so that no classifier can tell these apart",
            "": "more than once in a class, so that an episode may ask for a picture that it has shown",
        }
        return [
            f"Beware of copies: {len(pairs)} with the same pixels {harm[kind]}; {pairs[0]}."
            for kind, pairs in self._between.items()
            if pairs
        ]
