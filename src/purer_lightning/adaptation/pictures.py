"""A user's own pictures: class folders to adapt to, and folders or files to label. Nothing has to be prepared."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from purer_lightning.data.archives import open_pictures
from purer_lightning.data.pictures import UNREADABLE, Picture, picture_file, to_pixels
from purer_lightning.errors import PurerError


class OwnPicture(NamedTuple):
    """One picture of the user's, not yet read.

    Attributes:
        path: of its file, as the user can open it.
        folder: the first folder below the one that was named, which is its class; None where it lies in none.
        picture: reads it.
    """

    path: Path
    folder: str | None
    picture: Picture


class ReadPictures(NamedTuple):
    """What could be read of some pictures.

    Attributes:
        kept: those that could, in the given order.
        images: uint8 (len(kept), C, size, size); None where none could.
        skipped: those that could not, each with the reason.
    """

    kept: list[OwnPicture]
    images: Tensor | None
    skipped: list[str]


def find_support(folder: Path) -> dict[str, list[OwnPicture]]:
    """List the pictures of each class folder, sorted by name. Pictures in deeper folders are of the same class.

    Raises:
        PurerError: no such folder, fewer than two class folders in it, or one without a picture file.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise PurerError(f"Expected --support to be a folder of class folders, but found {found} at '{folder}'.")
    classes = sorted(inner for inner in folder.iterdir() if inner.is_dir() and _is_visible(inner))
    if not classes:
        raise PurerError(
            f"Expected one folder a class in '{folder}', each with a few pictures, but found none; put them in "
            "folders that have the classes' names."
        )
    if len(classes) == 1:
        raise PurerError(
            f"Expected at least 2 class folders in '{folder}', for there must be something to tell apart, but found "
            f"only '{classes[0].name}'; add another."
        )
    found_by_class = {inner.name: _below(inner, inner.name) for inner in classes}
    for name, pictures in found_by_class.items():
        if not pictures:
            raise without_pictures(name, folder / name, sum(file.is_file() for file in (folder / name).rglob("*")))
    return found_by_class


def without_pictures(name: str, folder: Path, files: int) -> PurerError:
    """Return the complaint about a class of which nothing can be read."""
    return PurerError(
        f"Expected at least one readable picture of class '{name}' in '{folder}', but none of its {files} files is one "
        "by suffix and content; add some (JPEG, PNG, WebP, TIFF, ...), or remove the folder."
    )


def loose_pictures(folder: Path) -> list[Path]:
    """Return the pictures beside the class folders in ``folder``, which are of no class."""
    return [own.path for own in _below(folder, None) if own.folder is None]


def find_query(named: Sequence[str], what: str = "--query") -> list[OwnPicture]:
    """List the pictures to label: of folders, all in them at any depth, sorted by path; of files, those.

    Args:
        named: folders and files.
        what: named them, for messages.

    Raises:
        PurerError: something named is not there, or there is no picture at all.
    """
    found: list[OwnPicture] = []
    for path in map(Path, named):
        if path.is_dir():
            found += _below(path, None)
        elif path.is_file():
            found.append(OwnPicture(path, None, picture_file(str(path), path.read_bytes)))
        else:
            raise PurerError(f"Expected {what} to name folders or files with pictures, but nothing is at '{path}'.")
    if not found:
        raise PurerError(
            f"Expected pictures in {', '.join(map(repr, named)) or 'what is named'}, but found no file with a "
            f"picture's suffix; give {what} another."
        )
    return found


def read_pictures(found: Sequence[OwnPicture], size: int, channels: int) -> ReadPictures:
    """Read pictures as ``to_pixels`` does; damaged ones are skipped, each with the reason."""
    kept, pixels, skipped = [], [], []
    for own in found:
        try:
            pixels.append(to_pixels(own.picture.load(), size, channels))
            kept.append(own)
        except UNREADABLE as error:
            skipped.append(f"{printable(own.path)} ({reason(error)})")
    return ReadPictures(kept, torch.from_numpy(np.stack(pixels)) if pixels else None, skipped)


def reason(error: Exception) -> str:
    """Return why a picture cannot be read, short and without the addresses that Pillow's own sentence holds."""
    said = str(error)
    return "not a picture, or of a kind that Pillow does not know" if "cannot identify" in said else said


def no_pictures(folder: Path) -> list[Path]:
    """Return the files below a folder that are no pictures by their suffix, such as .heic; hidden ones left out."""
    pictures = {own.path for own in _below(folder, None)}
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file not in pictures)
    return [file for file in files if all(map(_is_visible, (file, *file.relative_to(folder).parents)))]


def in_batches(found: Sequence[OwnPicture], batch: int) -> Iterator[Sequence[OwnPicture]]:
    """Yield consecutive pictures, ``batch`` at a time."""
    for start in range(0, len(found), batch):
        yield found[start : start + batch]


def _below(folder: Path, name: str | None) -> list[OwnPicture]:
    with open_pictures(folder) as files:  # of a folder: nothing is held open
        return [
            OwnPicture(
                path := folder.joinpath(*file.parts),
                name or (file.parts[0] if len(file.parts) > 1 else None),
                picture_file(str(path), path.read_bytes),
            )
            for file in files
        ]


def _is_visible(path: Path) -> bool:
    return not path.name.startswith(".") and path.name != "__MACOSX"


def printable(path: Path | str) -> str:
    """Return a file's name for the screen, with a mark where it is not valid Unicode."""
    return str(path).encode(errors="replace").decode()
