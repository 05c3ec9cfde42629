"""Pictures in, a prepared data set out: all of it or nothing."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from purer_lightning.data.copies import Copies
from purer_lightning.data.depth import WhiteOfSet
from purer_lightning.data.metadata import RECORD_FILE, SPLITS, DatasetRecord, SourceFile, SplitRecord
from purer_lightning.data.pictures import Classes, Picture, Splits, UnreadablePicture, read_pixels
from purer_lightning.errors import PurerError
from purer_lightning.nets.normalisation import Normalisation


def train_normalisation(file: Path) -> Normalisation:
    """Return channel means and standard deviations over all pixels of a split's file, scaled to [0, 1].

    From exact integer sums, a part at a time, so that neither order nor size matters; the squares of 1.4e14 pixels fit
    into 64 bits. The deviation is the population's.

    Args:
        file: ``.npy`` of uint8 (N, C, H, W).

    Raises:
        PurerError: a channel of one single value, by whose deviation nothing can be divided.
    """
    images = np.load(file, mmap_mode="r")
    values = np.arange(256)
    histogram = np.zeros((images.shape[1], 256), np.int64)
    for start in range(0, len(images), 1024):
        for channel, pixels in enumerate(images[start : start + 1024].swapaxes(0, 1)):
            histogram[channel] += np.bincount(pixels.ravel(), minlength=256)
    pixels_each = histogram.sum(1)
    mean = histogram @ values / pixels_each
    deviation = np.sqrt(histogram @ values**2 / pixels_each - mean * mean)
    if not deviation.all():
        raise PurerError("Expected pictures that differ, but a colour channel of all train pictures has one value.")
    return Normalisation(tuple((mean / 255).tolist()), tuple((deviation / 255).tolist()))


class DatasetWriter:
    """Writes data sets of one shape of pictures.

    Args:
        image_size: height and width to which pictures are brought.
        channels: 1 or 3.
        skip_unreadable: leave out pictures that cannot be read, rather than stop at the first.
        advance: called after every picture, for a progress bar.

    Attributes:
        skipped: where the skipped pictures lie.
        reasons: why each was skipped.
        notes: sentences for the user on what was decided or noticed.
    """

    def __init__(self, image_size: int, channels: int, *, skip_unreadable: bool, advance: Callable[[], None]) -> None:
        self.image_size = image_size
        self.channels = channels
        self.skipped: list[str] = []
        self.reasons: list[str] = []  # of the skipped, in their order
        self.notes: list[str] = []
        self._skip_unreadable = skip_unreadable
        self._advance = advance

    def write(
        self, root: Path, name: str, splits: Splits, sources: list[SourceFile], recipe: dict[str, Any]
    ) -> DatasetRecord:
        """Write ``<root>/<name>/``, replacing what was there once everything is ready.

        Files are made in a hidden folder beside it, which is removed whatever happens.

        Raises:
            PurerError: an unreadable picture (unless skipped), a class without pictures, or an unwritable root.
        """
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as staged:
                record = self._stage(Path(staged), name, splits, sources, recipe)
                _publish(Path(staged), root / name)
        except OSError as error:
            raise PurerError(
                f"Expected to write the data set into {root / name}, but could not ({error}): "
                "make room or rights there, or choose another --root."
            ) from error
        return record

    def _stage(
        self, folder: Path, name: str, splits: Splits, sources: list[SourceFile], recipe: dict[str, Any]
    ) -> DatasetRecord:
        """Write all files of a data set into an empty folder."""
        records: dict[str, SplitRecord] = {}
        white = WhiteOfSet(picture.load for classes in splits.values() for of in classes.values() for picture in of)
        copies = Copies()
        first_id = 0
        for split in SPLITS:
            read = partial(self._read, white, copies, split)
            records[split] = self._write_split(folder / f"{split}.npy", splits[split], first_id, read)
            first_id += len(splits[split])
        self.notes = [*white.notes, *copies.notes()]
        normalisation = train_normalisation(folder / "train.npy")
        record = DatasetRecord(
            name, self.image_size, self.channels, normalisation, sources, recipe, records, self.skipped
        )
        (folder / RECORD_FILE).write_text(record.to_json(), encoding="utf-8")
        return record

    def _write_split(
        self, file: Path, classes: Classes, first_id: int, read: Callable[[str, Picture], np.ndarray | None]
    ) -> SplitRecord:
        """Write one ``.npy`` picture by picture, so that memory does not grow with the data set."""
        shape = [sum(map(len, classes.values())), self.channels, self.image_size, self.image_size]
        counts = []
        with file.open("wb") as stream:
            _write_header(stream, shape)
            for name, pictures in classes.items():
                skipped = len(self.skipped)
                for picture in pictures:
                    if (pixels := read(name, picture)) is not None:
                        stream.write(pixels.tobytes())
                counts.append(len(pictures) - len(self.skipped) + skipped)
                if not counts[-1]:
                    raise PurerError(f"Expected readable pictures of class '{name}', but none of {len(pictures)} is.")
            shape[0] = sum(counts)
            stream.seek(0)
            _write_header(stream, shape)
        ids = list(range(first_id, first_id + len(classes)))
        return SplitRecord(ids, list(classes), counts, shape, file.stat().st_size)

    def _read(
        self, white: WhiteOfSet, copies: Copies, split: str, class_name: str, picture: Picture
    ) -> np.ndarray | None:
        """Return a picture's pixels, uint8 (C, H, W), or None where it was skipped."""
        self._advance()
        try:
            pixels = read_pixels(picture, self.image_size, self.channels, white)
        except UnreadablePicture as error:
            if not self._skip_unreadable:
                raise PurerError(
                    f"Expected a picture at {picture.where}, but it cannot be read ({error}): the archive is probably "
                    "half copied or half downloaded; get it again."
                ) from error
            self.skipped.append(picture.where)
            self.reasons.append(str(error))
            return None
        copies.see(pixels, split, class_name, picture.where)
        return pixels


def _write_header(stream: BinaryIO, shape: list[int]) -> None:
    """Write the header of a ``.npy`` file. NumPy pads it for growth, so its length is the same for every count."""
    description = {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(stream, description)


def _publish(staged: Path, folder: Path) -> None:
    """Move finished files into place. There is no ``dataset.json`` as long as old and new files could be mixed."""
    folder.mkdir(exist_ok=True)
    (folder / RECORD_FILE).unlink(missing_ok=True)
    for name in [*(f"{split}.npy" for split in SPLITS), RECORD_FILE]:
        (staged / name).replace(folder / name)
