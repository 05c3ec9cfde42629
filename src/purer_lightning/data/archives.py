"""Zip archives and folders, seen alike: a list of picture files, each with its bytes."""

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from purer_lightning.data.pictures import Picture, picture_file
from purer_lightning.errors import PurerError


class PictureFile(NamedTuple):
    """A picture file in an archive or folder.

    Attributes:
        parts: its path there, part by part.
        picture: the picture.
    """

    parts: tuple[str, ...]
    picture: Picture


@contextmanager
def open_pictures(source: Path) -> Iterator[list[PictureFile]]:
    """List the picture files of a zip archive or a folder, sorted by path; they can be read inside the ``with``.

    A picture file is told by its suffix. Hidden files and the copies that macOS puts into zip archives are left out.
    Folders that are links are as good as others.

    Raises:
        PurerError: neither a folder nor a whole zip archive.
    """
    if source.is_dir():
        yield [_entry(source, parts, partial(_read_file, source)) for parts in _picture_paths(_files(str(source)))]
        return
    try:
        archive = zipfile.ZipFile(source)
    except (OSError, zipfile.BadZipFile) as error:
        raise PurerError(
            f"Expected a folder or a whole zip archive at {source} ({source.stat().st_size:,} bytes), but its table of "
            f"contents cannot be read ({error}): it was probably half copied or half downloaded; get it again."
        ) from error
    with archive:
        yield [_entry(source, parts, archive.read) for parts in _picture_paths(archive.namelist())]


def _files(folder: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the files below a folder, by their paths there. Links to folders are followed, but to one they lie in."""
    real = os.path.realpath(folder)
    if real in above or not os.access(folder, os.R_OK | os.X_OK):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from (f"{entry.name}/{name}" for name in _files(entry.path, (*above, real)))
            elif entry.is_file():
                yield entry.name


def _picture_paths(names: Iterable[str]) -> list[tuple[str, ...]]:
    suffixes = Image.registered_extensions()
    # plain text: path objects would cost seconds where there are a million files
    paths = (tuple(name.split("/")) for name in names if f".{name.rpartition('.')[2].lower()}" in suffixes)
    return sorted(parts for parts in paths if not any(part.startswith(".") or part == "__MACOSX" for part in parts))


def _entry(source: Path, parts: tuple[str, ...], read: Callable[[str], bytes]) -> PictureFile:
    name = "/".join(parts)
    return PictureFile(parts, picture_file(f"{source.name}: {name}", partial(read, name)))


def _read_file(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()
