"""Validates checkpoints and explains mismatches before torch raises a list of missing keys."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from purer_lightning.errors import PurerError, nearest
from purer_lightning.files.contents import content_of

FOLDER = "checkpoints"  # within a run folder
SETTINGS = "settings"  # under which a checkpoint holds those of its run
VALIDATION_DUE = "validation_due"  # whether a run resumed from it begins with a validation
LAST, BEFORE_LAST = "last.ckpt", "before_last.ckpt"
BEST = "best.ckpt"  # by meta-val
WORDS = ("last", "best")  # for --ckpt_path: the run folder's own checkpoints


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """Read a checkpoint without running code, and check every byte of it.

    Raises:
        PurerError: an address, no such file, a damaged one, or one that holds more than tensors and plain values.
    """
    if "://" in str(path):
        raise PurerError(f"Expected --ckpt_path to be a file on this machine, but got '{path}'; copy it here first.")
    if not Path(path).is_file():
        raise PurerError(_missing(Path(path)))
    _check_kind(Path(path))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        with zipfile.ZipFile(path) as archive:  # torch.load takes flipped bits for weights
            damaged = archive.testzip()
    except Exception as error:  # a damaged pickle can raise anything
        raise PurerError(
            f"'{path}' cannot be read as a checkpoint: it is damaged, or holds more than tensors and plain values, "
            "which could run code when loaded; give one that purer fit wrote."
        ) from error
    if damaged:
        raise PurerError(
            f"'{path}' cannot be read as a checkpoint: it is damaged, since the checksum of '{damaged}' in it is "
            "wrong; give another."
        )
    if not isinstance(content, Mapping):
        raise PurerError(
            f"'{path}' is no checkpoint of purer fit: it holds a {type(content).__name__}; give one from a run's "
            "folder 'checkpoints'."
        )
    return content


def _check_kind(path: Path) -> None:
    """Raise PurerError where a file's first bytes say that it is of another kind."""
    try:
        content = content_of(path)
    except OSError as error:
        raise PurerError(f"'{path}' cannot be read as a checkpoint: {error.strerror}; give another.") from error
    if content:
        remedy = content.remedy or "give one that purer fit wrote"
        raise PurerError(f"'{path}' cannot be read as a checkpoint: it is {content.what}; {remedy}.")


class Found(NamedTuple):
    """A checkpoint that has been read."""

    path: Path
    content: Mapping[str, Any]


def last_checkpoint(run: Path, warn: Callable[[str], None]) -> Found | None:
    """Return the newest sound checkpoint of a run folder, None where there is none.

    Args:
        run: the folder.
        warn: is told of a damaged checkpoint, in whose place the one before it is taken.

    Raises:
        PurerError: there are checkpoints, but none is sound.
    """
    there = [path for name in (LAST, BEFORE_LAST) if (path := run / FOLDER / name).exists()]
    faults: list[str] = []
    for path in there:
        try:
            found = Found(path, read_checkpoint(path))
        except PurerError as error:
            faults.append(str(error))
        else:
            for fault in faults:
                warn(f"{fault.rpartition(';')[0]}; so the run goes on from the one before it, '{path}'.")
            return found
    if faults:
        raise PurerError(" ".join(faults))
    return None


def _missing(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    there = sorted(file.name for file in folder.glob("*.ckpt")) if folder.is_dir() else []
    found = "a folder" if path.is_dir() else "no such file" if folder.is_dir() else f"no folder '{folder}'"
    listed = f" '{folder}' has: {', '.join(there)}." if there else ""
    return (
        f"Expected --ckpt_path to name a checkpoint, but found {found} at '{path}'; give one from a run's folder "
        f"'checkpoints'.{nearest(path.name, there)}{listed}"
    )
