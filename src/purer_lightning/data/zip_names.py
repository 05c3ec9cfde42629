"""Names in zip archives of any system: encodings that the archive does not say, backslashes, paths that lead out."""

import re
import unicodedata
import zipfile
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from purer_lightning.errors import PurerError

_UTF8 = 0x800  # the flag of names in UTF-8 (APPNOTE 4.4.4)
_UNICODE_PATH = 0x7075  # Info-ZIP's extra field of a name in UTF-8 (APPNOTE 4.6.9)


def normal_form(name: str) -> str:
    """Return a name in Unicode's form C: macOS stores é as two characters, most keyboards type one."""
    return unicodedata.normalize("NFC", name)


def named_entries(source: Path, archive: zipfile.ZipFile) -> Iterator[tuple[tuple[str, ...], zipfile.ZipInfo]]:
    """Yield an archive's files, and its folders without any, with their paths part by part.

    Names are in Unicode's form C. Drive letters and leading slashes are dropped, backslashes separate as slashes do.

    Raises:
        PurerError: a path leads out of the archive, or a folder's name is in an encoding that cannot be known.
    """
    entries = archive.infolist()
    raw = [_unsaid_name(entry) for entry in entries]
    utf8 = all(name is None or _is_utf8(name) for name in raw)
    told = [
        _told_name(entry) if name is None else name.decode("utf-8" if utf8 else "cp437")
        for entry, name in zip(entries, raw, strict=True)
    ]
    paths = [_parts(name, source) for name in told]
    folders_of_files = {
        folder
        for path, entry in zip(paths, entries, strict=True)
        if not is_folder(entry)
        for folder in accumulate((part,) for part in path[:-1])
    }
    for path, name, entry in zip(paths, raw, entries, strict=True):
        if name is not None and not utf8 and not all(map(str.isascii, path[:-1])):
            raise PurerError(
                f"Expected the names in {source} to be in UTF-8, but '{'/'.join(path)}' is in an older code page, and "
                "the archive does not say in which: unpack it with a program that knows, and give the folder."
            )
        if path and not (is_folder(entry) and path in folders_of_files):
            yield path, entry


def is_folder(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is a folder's own; also where backslashes separate."""
    return entry.filename.endswith(("/", "\\"))


def _parts(name: str, source: Path) -> tuple[str, ...]:
    bare = re.sub("^[A-Za-z]:(?=/)", "", normal_form(name).replace("\\", "/"))
    parts = tuple(part for part in bare.split("/") if part not in ("", "."))
    if ".." in parts:
        raise PurerError(
            f"Expected every file of {source} to lie within the archive, but '{name}' leads out of it: get the archive "
            "from where you can trust it."
        )
    return parts


def _unsaid_name(entry: zipfile.ZipInfo) -> bytes | None:
    """Return the bytes of a name whose encoding the archive does not say; None where it does, or where it is ASCII."""
    if entry.flag_bits & _UTF8 or entry.filename.isascii() or _unicode_path(entry) is not None:
        return None
    return entry.orig_filename.partition("\0")[0].encode("cp437")  # as which Python has read it


def _told_name(entry: zipfile.ZipInfo) -> str:
    return _unicode_path(entry) or entry.filename


def _unicode_path(entry: zipfile.ZipInfo) -> str | None:
    extra = entry.extra
    while len(extra) >= 4:
        kind, size = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
        if kind == _UNICODE_PATH and size > 5:
            try:
                return extra[9 : 4 + size].decode("utf-8")  # behind its version and the other name's checksum
            except UnicodeDecodeError:
                return None
        extra = extra[4 + size :]
    return None


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
