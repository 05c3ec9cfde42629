"""A user's own pictures: class folders to adapt to, and folders or files to label. Nothing has to be prepared."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from purer_lightning.data.archives import NO_PICTURE, LeftOut, open_pictures
from purer_lightning.data.copies import fingerprint
from purer_lightning.data.depth import WhiteOfSet
from purer_lightning.data.pictures import Picture, UnreadablePicture, picture_file, read_pixels
from purer_lightning.data.zip_names import normal_form
from purer_lightning.errors import PurerError


class OwnPicture(NamedTuple):
    """One picture of the user's, not yet read.

    Attributes:
        path: of its file, as the user can open it.
        folder: the first folder below the one that was named, which is its class; None where it lies in none. In
            Unicode's normal form C.
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
        fingerprints: of the images, by which copies are known whatever their names and formats.
    """

    kept: list[OwnPicture]
    images: Tensor | None
    skipped: list[str]
    fingerprints: list[bytes]


def find_support(folder: Path) -> dict[str, list[OwnPicture]]:
    """List the pictures of each class folder, sorted by name. Pictures in deeper folders are of the same class.

    Folders whose names are one name in Unicode (é as one character or as two) are one class.

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
    if len({normal_form(inner.name) for inner in classes}) == 1:
        raise PurerError(
            f"Expected at least 2 class folders in '{folder}', for there must be something to tell apart, but found "
            f"only '{classes[0].name}'; add another."
        )
    found_by_class: dict[str, list[OwnPicture]] = {}
    for inner in classes:
        name = normal_form(inner.name)
        pictures = _below(inner, name)
        if not pictures:
            raise without_pictures(name, inner, sum(file.is_file() for file in inner.rglob("*")))
        found_by_class.setdefault(name, []).extend(pictures)
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
            f"picture's suffix or content; give {what} another."
        )
    return found


def read_pictures(
    found: Sequence[OwnPicture], size: int, channels: int, white: WhiteOfSet | None = None
) -> ReadPictures:
    """Read pictures as ``to_pixels`` does; those that cannot be read are skipped, each with the reason.

    Args:
        found: the pictures.
        size: height and width of the result.
        channels: 1 or 3.
        white: of a larger set that these belong to; by default they are the set.
    """
    kept, pixels, skipped = [], [], []
    white = white or white_of(found)
    for own in found:
        try:
            pixels.append(read_pixels(own.picture, size, channels, white))
            kept.append(own)
        except UnreadablePicture as error:
            skipped.append(f"{printable(own.path)} ({error})")
    images = torch.from_numpy(np.stack(pixels)) if pixels else None
    return ReadPictures(kept, images, skipped, list(map(fingerprint, pixels)))


def white_of(found: Sequence[OwnPicture]) -> WhiteOfSet:
    """Return the white value of these pictures together, which is found once one of them needs it."""
    return WhiteOfSet([own.picture.load for own in found])


def no_pictures(folder: Path) -> list[Path]:
    """Return the files below a folder that are no pictures by suffix and content; hidden ones left out."""
    left_out: LeftOut = {}
    with open_pictures(folder, left_out):
        return [folder / where.split(": ", 1)[1] for where in left_out.get(NO_PICTURE, [])]


def in_batches(found: Sequence[OwnPicture], batch: int) -> Iterator[Sequence[OwnPicture]]:
    """Yield consecutive pictures, ``batch`` at a time."""
    for start in range(0, len(found), batch):
        yield found[start : start + batch]


def _below(folder: Path, name: str | None) -> list[OwnPicture]:
    with open_pictures(folder) as files:  # of a folder: nothing is held open
        return [
            OwnPicture(
                path := folder / file.path,
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
