"""Small sources of pictures for the tests of data preparation."""

import io
import pickle
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from purer_lightning.data.cifar import cifar_fs_split
from purer_lightning.data.preparation import prepare


def png(colour: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> bytes:
    """Return a PNG of one colour with a white last row, so that no channel of a data set is constant."""
    stream = io.BytesIO()
    image = Image.new("RGB", size, colour)
    image.paste("white", (0, size[1] - 1, *size))
    image.save(stream, "PNG")
    return stream.getvalue()


def write_tree(folder: Path, classes: Iterable[str], per_class: int) -> Path:
    """Write ``folder/<class>/<i>.png``: class k's picture i has the colour (k, i, k + i)."""
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            (folder / name / f"{i}.png").write_bytes(png((k, i, k + i)))
    return folder


def write_zip(file: Path, content: dict[str, bytes]) -> Path:
    """Write a zip archive of these files."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return file


def small_dataset(folder: Path, classes: int = 12, per_class: int = 8) -> Path:
    """Prepare ``folder/root/small``, 8 x 8 pictures split at random, and return the root.

    Class ``c<k>`` has red k, and its picture i has green i.
    """
    source = write_tree(folder / "source", [f"c{k:02d}" for k in range(classes)], per_class)
    prepare("folder", root=str(folder / "root"), source=str(source), name="small", image_size=8)
    return folder / "root"


def write_tar(file: Path, members: dict[str, bytes]) -> Path:
    """Write ``cifar-100-python/<member>`` into a tar.gz."""
    with tarfile.open(file, "w:gz") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(f"cifar-100-python/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file


def cifar_members() -> dict[str, bytes]:
    """Return pickles as in ``cifar-100-python``: of each class two pictures in ``train`` and one in ``test``.

    Picture i of class k (in sorted order) is ``png((k, i, 7), (32, 32))``. File names sort as i does, rows do not.
    """
    names = sorted(name for split in cifar_fs_split().values() for name in split)
    shown = list(reversed(names))  # labels that are not in sorted order of the names
    members: dict[str, Any] = {"meta": {b"fine_label_names": [name.encode() for name in shown]}}
    for part, pictures in (("train", (2, 0)), ("test", (1,))):
        rows = [(k, i) for i in pictures for k in range(100)]
        members[part] = {
            b"data": np.array([np.asarray(Image.open(io.BytesIO(png((k, i, 7), (32, 32))))) for k, i in rows])
            .transpose(0, 3, 1, 2)
            .reshape(-1, 3072),
            b"fine_labels": [shown.index(names[k]) for k, _ in rows],
            b"filenames": [f"{names[k]}_s_{i:06d}.png".encode() for k, i in rows],
        }
    return {name: pickle.dumps(content, protocol=2) for name, content in members.items()}
