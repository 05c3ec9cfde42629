"""What a file is by its first bytes, whatever its name, so that an error names the true reason."""

import zipfile
from pathlib import Path
from typing import NamedTuple

SAFETENSORS = "a safetensors file"
DOWNLOAD = "download it again; the address may ask for a login, or for another link"
UNPACK = "unpack it and give the file in it"
HEAD = 512  # bytes that are read; a tar archive is recognised from byte 257 on
LARGEST_HEADER = 100_000_000  # bytes, of safetensors' format


class Content(NamedTuple):
    """What a file is.

    Attributes:
        what: with its article, such as "an ONNX model".
        remedy: what to do about it, whatever was expected; empty where that depends.
    """

    what: str
    remedy: str = ""


BEGINNINGS = {
    b"version https://git-lfs": Content("a pointer of Git LFS in a file's place", "run `git lfs pull` where it lies"),
    b"\x89HDF\r\n": Content("an HDF5 file, as Keras and TensorFlow write them"),
    b"\x93NUMPY": Content("an array of NumPy"),
    b"GGUF": Content("a GGUF file of a language model"),
    b"\x1f\x8b": Content("a gzip archive", UNPACK),
    b"BZh": Content("a bzip2 archive", UNPACK),
    b"\xfd7zXZ": Content("an xz archive", UNPACK),
    b"\x28\xb5\x2f\xfd": Content("a zstd archive", UNPACK),
    b"7z\xbc\xaf": Content("a 7z archive", UNPACK),
    b"Rar!": Content("a rar archive", UNPACK),
    b"%PDF": Content("a PDF document"),
    b"\x89PNG": Content("a picture"),
    b"\xff\xd8\xff": Content("a picture"),
}
# What a name within a zip archive ends in -> what the archive is; the first that is there counts.
WITHIN_ZIP = {
    "/constants.pkl": Content("a TorchScript archive"),
    "/archive_format": Content("a program of torch.export"),
    "model.weights.h5": Content("a Keras model"),
    ".npy": Content("an archive of NumPy arrays"),
}


def content_of(path: Path) -> Content | None:
    """Return what a file is; None for what torch.save writes, and for anything unknown.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return Content("damaged, since it is empty", "copy or download it again")
    for beginning, content in BEGINNINGS.items():
        if head.startswith(beginning):
            return content
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= LARGEST_HEADER:
        return Content(SAFETENSORS)
    if head.startswith(b"PK"):
        return _of_zip(path)
    if head[257:262] == b"ustar":
        return Content("a tar archive", UNPACK)
    if head[4:8] == b"TFL3":
        return Content("a TensorFlow Lite model")
    # Protocol buffers: the version of the format, then the producer's name, the graph or the operators' version.
    if head[0] == 8 and 1 <= head[1] < 32 and head[2] in (0x12, 0x1A, 0x22, 0x3A, 0x42):
        return Content("an ONNX model")
    return _of_text(head)


def may_be_of_torch(path: Path) -> bool:
    """Whether a file begins as those of torch.save do: as a zip archive or, of older versions, as a pickle."""
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02")


def other_than_safetensors(path: Path) -> Content | None:
    """Return what a file is if it is clearly not safetensors; unreadable and unknown files are left to their reader."""
    try:
        content = content_of(path)
    except OSError:
        return None
    return None if content and content.what == SAFETENSORS else content


def _of_zip(path: Path) -> Content | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None  # cut short
    for ending, content in WITHIN_ZIP.items():
        if any(name.endswith(ending) for name in names):
            return content
    is_of_torch = any(name.endswith("data.pkl") for name in names)
    return None if is_of_torch else Content("a zip archive of other files", UNPACK)


def _of_text(head: bytes) -> Content | None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return Content("a page of the web", DOWNLOAD)
    if any(byte < 9 or 13 < byte < 32 for byte in head):
        return None
    return Content("a text" + (" in JSON" if start.startswith((b"{", b"[")) else ""))
