"""One split of a prepared data set, memory-mapped.

On disk: ``<root>/<dataset>/{train,val,test}.npy``, uint8 (N, C, H, W) with rows sorted by class, and ``dataset.json``
(see `record`). Opening maps a file and copies nothing; pages are read when a picture is.
"""

import shlex
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from purer_lightning.data.metadata import RECORD_FILE, SPLITS, DatasetRecord, read_dataset
from purer_lightning.data.readers import READERS
from purer_lightning.data.zip_names import normal_form
from purer_lightning.errors import PurerError, nearest
from purer_lightning.nets.normalisation import Normalisation


class ImageSplit:
    """One split of a prepared data set. Workers of a `DataLoader` open the file themselves and are sent no pictures.

    Attributes:
        dataset: name of the data set, such as ``cifar_fs``.
        split: ``train``, ``val`` or ``test``.
        class_ids: global in the data set: train classes sorted by name get 0 and on, then val, then test.
        class_names: in the order of ``class_ids``.
        counts: int64, (classes,): images of each class.
        image_size: height and width in pixels.
        channels: 1 or 3.
        normalisation: of the data set's train split, computed at preparation.
        images: memory-mapped uint8, (N, C, H, W), values 0 to 255, rows sorted by class. Read-only.
    """

    def __init__(self, root: Path, record: DatasetRecord, split: str) -> None:
        own = record.splits[split]
        self.dataset = record.name
        self.split = split
        self.class_ids = tuple(own.class_ids)
        self.class_names = tuple(map(normal_form, own.class_names))
        self.counts = torch.tensor(own.counts, dtype=torch.int64)
        self.image_size = record.image_size
        self.channels = record.channels
        self.normalisation: Normalisation = record.normalisation
        self.images = _map(root / record.name / f"{split}.npy", tuple(own.shape), own.bytes)
        self._root = root
        self._starts: list[int] = [0, *np.cumsum(own.counts).tolist()]

    def __reduce__(self) -> tuple[object, tuple[Path, str, str]]:
        return open_split, (self._root, self.dataset, self.split)

    @property
    def total(self) -> int:
        """How many pictures there are."""
        return int(self.counts.sum())

    def pictures(self, position: int, slots: Tensor) -> Tensor:
        """Return some pictures of a class.

        Args:
            position: of the class in ``class_ids``, 0 and on.
            slots: int64, (n,), values 0 to ``counts[position]`` - 1.

        Returns:
            uint8, (n, C, H, W), a copy.

        Raises:
            IndexError: a slot outside the class, which would be a picture of its neighbour.
        """
        start, end = self._starts[position], self._starts[position + 1]
        rows = slots.numpy() + start
        if len(rows) and (rows.min() < start or rows.max() >= end):
            raise IndexError(f"Slots {slots.tolist()} are not all within the {end - start} images of this class.")
        return torch.from_numpy(self.images[rows])

    def of_class(self, position: int) -> Tensor:
        """Return all pictures of the class at ``position``: uint8, (n, C, H, W), a copy."""
        return torch.from_numpy(np.array(self.images[self._starts[position] : self._starts[position + 1]]))


def open_split(root: str | Path, dataset: str, split: str) -> ImageSplit:
    """Open one split in milliseconds.

    Args:
        root: folder that holds the prepared data sets.
        dataset: name of one of them.
        split: ``train``, ``val`` or ``test``.

    Raises:
        PurerError: not prepared (with the place looked at and the command that prepares it), an unknown split, or a
            file that is not whole.
    """
    if split not in SPLITS:
        raise PurerError(f"Expected a split among {', '.join(SPLITS)}, but got '{split}'.{nearest(split, SPLITS)}")
    root = Path(root)
    file = root / dataset / RECORD_FILE
    if not file.is_file():
        there = sorted(found.parent.name for found in root.glob(f"*/{RECORD_FILE}"))
        known = f" (prepared there: {', '.join(there)})" if there else ""
        reader = READERS.ours.get(dataset)
        command = reader.hint if reader and reader.hint else f"folder --source FOLDER --name {shlex.quote(dataset)}"
        raise PurerError(
            f"The data set '{dataset}' is not prepared: looked for {file.absolute()}"
            f"{known}.{nearest(dataset, there)} "
            f"Prepare it with `purer data prepare {command} --root {shlex.quote(str(root))}`."
        )
    return ImageSplit(root, read_dataset(file), split)


def _map(file: Path, shape: tuple[int, ...], size: int) -> np.ndarray:
    """Map a split's file after a look at its size, which tells a half-copied file at no cost."""
    remedy = "copy it again, or remove its folder and prepare the data set anew"
    found = file.stat().st_size if file.is_file() else None
    if found != size:
        state = "it is missing" if found is None else f"it has {found:,}"
        raise PurerError(
            f"Expected {file} to have {size:,} bytes for pictures of shape {shape}, but {state}: {remedy}."
        )
    try:
        images: np.ndarray = np.load(file, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise PurerError(f"Expected a NumPy array in {file}, but could not read it ({error}): {remedy}.") from error
    if images.shape != shape or images.dtype != np.uint8:
        raise PurerError(
            f"Expected uint8 pictures of shape {shape} in {file}, but found {images.dtype} {images.shape}: {remedy}."
        )
    return images
