"""Zip archives and folders, seen alike: a list of picture files, each with its bytes."""

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from mimetypes import MimeTypes
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from purer_lightning.data.pictures import Picture, picture_file
from purer_lightning.data.zip_names import is_folder, named_entries, normal_form
from purer_lightning.errors import PurerError
from purer_lightning.files.contents import content_of

LeftOut = dict[str, list[str]]
"""Files that are not used, by the reason."""

SHOWN = 3  # files that are named for each reason
NO_PICTURE = "it is no picture by suffix or first bytes"
SYSTEM_FILE = "it is hidden or an operating system's own"
NO_PICTURE_IN_FOLDER = "the folder has no file"

_SYSTEM_NAMES = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "@eadir"}
# Formats that begin with bytes of their own, so that a file without a picture's suffix can be told by them.
_TOLD_BY_BYTES = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "BMP")
_HEAD = 32  # bytes that are looked at


class PictureFile(NamedTuple):
    """A picture file in an archive or folder.

    Attributes:
        parts: its path there, part by part, in Unicode's normal form C: one name is one name however it was typed.
        picture: the picture.
        path: its path there as it is spelt.
    """

    parts: tuple[str, ...]
    picture: Picture
    path: str


class _File(NamedTuple):
    """A file's path, as spelt and part by part, and a function that reads its bytes, or the first few."""

    path: str
    parts: tuple[str, ...]
    read: Callable[[int], bytes]


@contextmanager
def open_pictures(source: Path, left_out: LeftOut | None = None) -> Iterator[list[PictureFile]]:
    """List the picture files of a zip archive or a folder, sorted by path; they can be read inside the ``with``.

    A picture file is told by its suffix or, with none or one that is neither a picture's nor a text's, by its first
    bytes. Hidden files and those
    that operating systems leave (``__MACOSX``, ``Thumbs.db``) are no picture files. Folders that are links are as good
    as others.

    Args:
        source: the archive or folder.
        left_out: gets the files that are not listed, by the reason.

    Raises:
        PurerError: neither a folder nor a whole zip archive, or names in the archive that cannot be trusted.
    """
    left_out = {} if left_out is None else left_out
    if source.is_dir():
        yield _picture_files(source, _files_of_folder(source), left_out)
        return
    try:
        archive = zipfile.ZipFile(source)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise _no_zip(source, error) from error
    with archive:
        yield _picture_files(source, _files_of_zip(source, archive), left_out)


def say_left_out(left_out: LeftOut, say: Callable[[str], None]) -> None:
    """Say how many files are not used for each reason, with the first few by name."""
    for reason, files in left_out.items():
        shown = ", ".join(files[:SHOWN]) + (", ..." if files[SHOWN:] else "")
        say(f"Left out, for {reason}: {len(files)} {'file' if len(files) == 1 else 'files'}: {shown}")


def _no_zip(source: Path, error: Exception) -> PurerError:
    content = content_of(source) if source.is_file() else None
    if content and not content.what.startswith("damaged"):
        return PurerError(
            f"Expected a folder or a zip archive at {source}, but found {content.what}: unpack it and give the folder, "
            "or pack the pictures as a zip."
        )
    return PurerError(
        f"Expected a folder or a whole zip archive at {source} ({source.stat().st_size:,} bytes), but its table of "
        f"contents cannot be read ({error}): it was probably half copied or half downloaded; get it again."
    )


def _picture_files(source: Path, files: Iterable[_File], left_out: LeftOut) -> list[PictureFile]:
    listed = []
    for file in files:
        if reason := _why_not(file):
            left_out.setdefault(reason, []).append(f"{source.name}: {'/'.join(file.parts)}")
        else:
            picture = picture_file(f"{source.name}: {'/'.join(file.parts)}", partial(file.read, -1))
            listed.append(PictureFile(file.parts, picture, file.path))
    for names in left_out.values():
        names.sort()
    return sorted(listed, key=lambda file: (file.parts, file.path))


def _why_not(file: _File) -> str | None:
    """Return why a file is not listed as a picture; None where it is one."""
    if any(part.startswith(".") or part.lower() in _SYSTEM_NAMES for part in file.parts):
        return SYSTEM_FILE
    if file.path.endswith("/"):
        return NO_PICTURE_IN_FOLDER
    suffix = f".{file.parts[-1].rpartition('.')[2].lower()}"
    if suffix in _suffixes() or (not _is_text(suffix) and begins_like_picture(file.read(_HEAD))):
        return None
    return NO_PICTURE


@cache
def _is_text(suffix: str) -> bool:
    types = MimeTypes()  # Python's own table, whatever this machine's says
    return types.types_map[True].get(suffix, "").startswith("text/")


@cache
def _suffixes() -> dict[str, str]:
    return Image.registered_extensions()


def begins_like_picture(head: bytes) -> bool:
    """Tell by its first 32 bytes whether a file is a picture of one of the usual formats."""
    _suffixes()  # makes Pillow know its formats
    accepts = (Image.OPEN[name][1] for name in _TOLD_BY_BYTES if name in Image.OPEN)
    if not any(accept is not None and accept(head) is True for accept in accepts):
        return False
    return head[:2] != b"BM" or head[6:10] == bytes(4)  # so does a text; in a bitmap four reserved bytes are zero


def _files_of_folder(source: Path) -> Iterator[_File]:
    def read(path: str, count: int) -> bytes:
        with (source / path).open("rb") as stream:
            return stream.read(count)

    for path in _walk(str(source)):
        yield _File(path, tuple(normal_form(path.rstrip("/")).split("/")), partial(read, path))


def _walk(folder: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the files below a folder, by their paths there, and folders without any, which end in a slash.

    Links to folders are followed, but to one they lie in.
    """
    real = os.path.realpath(folder)
    if real in above or not os.access(folder, os.R_OK | os.X_OK):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                inner = [f"{entry.name}/{name}" for name in _walk(entry.path, (*above, real))]
                yield from inner or [f"{entry.name}/"]
            elif entry.is_file():
                yield entry.name


def _files_of_zip(source: Path, archive: zipfile.ZipFile) -> Iterator[_File]:
    def read(entry: zipfile.ZipInfo, count: int) -> bytes:
        if count < 0:
            return archive.read(entry)
        try:
            with archive.open(entry) as stream:
                return stream.read(count)
        except Exception:  # encrypted, damaged or of an unknown compression: nothing can be told by its bytes
            return b""

    for parts, entry in named_entries(source, archive):
        yield _File("/".join(parts) + "/" * is_folder(entry), parts, partial(read, entry))
