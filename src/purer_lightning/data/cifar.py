"""CIFAR-FS (Bertinetto et al. 2019): CIFAR-100's 100 classes of 600 pictures, split 64 / 16 / 20 by class."""

import io
import json
import pickle
import tarfile
import zlib
from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from purer_lightning.data.folders import ClassNames, Tree, arrange
from purer_lightning.data.pictures import Classes, Picture, Splits
from purer_lightning.errors import PurerError

_LAYOUTS = "the CIFAR-FS zip, cifar-100-python.tar.gz, or a folder of class folders"

_REBUILD_ARRAY = np.empty(0).__reduce__()[0]  # ``_reconstruct``, whose module's name differs between NumPy 1 and 2


def cifar_fs_split() -> ClassNames:
    """Return the bundled class split."""
    text = (files("purer_lightning.data") / "assets" / "cifar_fs.json").read_text(encoding="utf-8")
    split: ClassNames = json.loads(text)
    return split


def arrange_cifar_fs(tree: Tree, images_per_class: int, where: str) -> Splits:
    """Put CIFAR-100's classes into the splits of CIFAR-FS.

    Args:
        tree: the pictures. Sorted by file name within a class, so that every source gives the same files.
        images_per_class: how many each class must have: 600.
        where: the source, for messages.

    Raises:
        PurerError: other classes or counts than CIFAR-100 has, or splits of the tree's own that disagree.
    """
    split = cifar_fs_split()
    split_of = {name: own for own, names in split.items() for name in names}
    for name, pictures in tree.classes.items():
        if name not in split_of:
            raise PurerError(f"Expected the 100 classes of CIFAR-100 in {where}, but found '{name}': give {_LAYOUTS}.")
        if len(pictures) != images_per_class:
            raise PurerError(
                f"Expected {images_per_class} pictures of class '{name}' in {where}, but found {len(pictures)}: "
                "the copy is not whole; get it again."
            )
    for own, names in (tree.split or {}).items():
        for name in names:
            if split_of[name] != own:
                raise PurerError(
                    f"Expected class '{name}' in {split_of[name]}/, as in CIFAR-FS, but {where} has it in {own}/: "
                    "move it."
                )
    return arrange(tree.classes, split, where)


def read_cifar_tar(source: Path) -> Tree:
    """Read the public ``cifar-100-python.tar.gz`` without executing its pickles.

    Costs 185 MB of memory, the size of the pictures.

    Raises:
        PurerError: not whole, not this archive, or a pickle that asks for more than NumPy arrays.
    """
    members = _read_members(source, ("train", "test", "meta"))
    content = {name: _load_plain(data, f"{source.name}: {name}") for name, data in members.items()}
    try:
        names = [name.decode() for name in content["meta"][b"fine_label_names"]]
        rows = [row for part in ("train", "test") for row in _rows(content[part], names, source.name)]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise PurerError(
            f"Expected CIFAR-100's tables (data, fine_labels, filenames, fine_label_names) in {source}, "
            f"but could not read them ({type(error).__name__}: {error}): get the archive again."
        ) from error
    classes: Classes = {name: [] for name in names}
    for _, name, picture in sorted(rows, key=lambda row: row[0]):
        classes[name].append(picture)
    return Tree(classes, None, [])


def _rows(table: Mapping[bytes, Any], names: list[str], where: str) -> list[tuple[str, str, Picture]]:
    """Return file name, class and picture of every row of CIFAR-100's ``train`` or ``test``."""
    data = table[b"data"]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3 * 32 * 32,):
        raise TypeError("data is not a uint8 array of 3,072 columns")
    files_of = [name.decode() for name in table[b"filenames"]]
    return [
        (file, names[label], Picture(f"{where}: {file}", partial(_row_picture, row)))
        for file, label, row in zip(files_of, table[b"fine_labels"], data, strict=True)
    ]


def _row_picture(row: np.ndarray) -> Image.Image:
    return Image.fromarray(row.reshape(3, 32, 32).transpose(1, 2, 0).copy())


def _read_members(source: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Read files of a tar archive by their last name, in memory; nothing is extracted."""
    found = {}
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                name = Path(member.name).name
                if name in names and (stream := archive.extractfile(member)):
                    found[name] = stream.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise PurerError(
            f"Expected a whole tar archive at {source} ({source.stat().st_size:,} bytes), but it cannot be read to its "
            f"end ({error}): it was probably half copied or half downloaded; get it again."
        ) from error
    if missing := [name for name in names if name not in found]:
        raise PurerError(f"Expected cifar-100-python/{missing[0]} in {source}, but it is not there: give {_LAYOUTS}.")
    return found


class _PlainUnpickler(pickle.Unpickler):
    """Reads numbers, text, lists, dictionaries and NumPy arrays. Every other name in a pickle is refused unexecuted."""

    def __init__(self, data: bytes, where: str) -> None:
        super().__init__(io.BytesIO(data), encoding="bytes")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        """Return what rebuilds an array, under the module names of NumPy 1 and 2."""
        allowed = {
            ("multiarray", "_reconstruct"): _REBUILD_ARRAY,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): _encode,
        }
        short = "multiarray" if module in ("numpy.core.multiarray", "numpy._core.multiarray") else module
        if (short, name) not in allowed:
            raise PurerError(
                f"Expected only numbers, text and NumPy arrays in {self._where}, but its pickle asks for "
                f"'{module}.{name}', which could run anything and was refused: this is not the public archive; get it "
                "from its home page."
            )
        return allowed[short, name]


def _encode(text: str, encoding: str) -> bytes:
    """Stand for ``_codecs.encode``, by which Python 3 writes bytes into old pickle protocols, always as latin1."""
    if encoding != "latin1":
        raise ValueError(f"unexpected encoding {encoding}")
    return text.encode("latin1")


def _load_plain(data: bytes, where: str) -> Any:
    try:
        return _PlainUnpickler(data, where).load()
    except PurerError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise PurerError(
            f"Expected a pickle in {where}, but it is damaged ({type(error).__name__}: {error}): get the archive again."
        ) from error
