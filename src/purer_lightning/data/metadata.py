"""``dataset.json``: what a prepared data set is, beside its pictures."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from purer_lightning.errors import PurerError
from purer_lightning.files.records import STRICT, FileName, read_record
from purer_lightning.nets import LARGEST
from purer_lightning.nets.normalisation import Normalisation

FORMAT = 1
SPLITS = ("train", "val", "test")
RECORD_FILE = "dataset.json"
REMEDY = "copy the folder again, or prepare the data set anew"

Size = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass
class SourceFile:
    """Where pictures came from.

    Attributes:
        file: name of the archive or folder, without its path, which differs from machine to machine.
        sha256: of an archive's bytes; of a folder, of its files' relative paths and hashes (see `source_of`).
    """

    __pydantic_config__ = STRICT

    file: str
    sha256: str


@dataclass
class SplitRecord:
    """One split's classes and the size of its file.

    Attributes:
        class_ids: global in the data set, ascending.
        class_names: in the order of ``class_ids``, sorted.
        counts: images of each class.
        shape: (N, C, H, W) of the ``.npy`` file; N is the sum of ``counts``.
        bytes: size of the ``.npy`` file, header included, by which a half-copied one is told.
    """

    __pydantic_config__ = STRICT

    class_ids: list[Size]
    class_names: list[str]
    counts: list[Size]
    shape: list[Size]
    bytes: Size


@dataclass
class DatasetRecord:
    """The content of ``dataset.json``.

    Attributes:
        name: of the data set and its folder.
        image_size: height and width in pixels.
        channels: 1 or 3.
        normalisation: of the train split's pixels scaled to [0, 1].
        sources: what was read.
        recipe: the settings that made the data set; equal sources and recipe give equal files.
        splits: by name, in the order train, val, test.
        skipped: pictures that could not be read and were left out.
    """

    __pydantic_config__ = STRICT

    name: FileName
    image_size: Annotated[int, Field(ge=1, le=LARGEST)]
    channels: Annotated[int, Field(ge=1, le=LARGEST)]
    normalisation: Normalisation
    sources: list[SourceFile]
    recipe: dict[str, Any]
    splits: dict[str, SplitRecord]
    skipped: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """Return the text of ``dataset.json``."""
        content = {"format": FORMAT} | asdict(self) | {"normalisation": self.normalisation._asdict()}
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    def is_whole(self, folder: Path) -> bool:
        """Tell whether every split's file in ``folder`` has its recorded size."""
        files = {split: folder / f"{split}.npy" for split in self.splits}
        return all(file.is_file() and file.stat().st_size == self.splits[s].bytes for s, file in files.items())


def read_dataset(file: Path) -> DatasetRecord:
    """Read ``dataset.json``.

    Raises:
        PurerError: not JSON, another format version, not of the schema, or its numbers contradict one another.
    """
    record = read_record(file, DatasetRecord, FORMAT, REMEDY)
    if wrong := _contradiction(record):
        raise PurerError(f"'{file}' is damaged: {wrong}; {REMEDY}.")
    return replace(record, splits={name: record.splits[name] for name in SPLITS})


def _contradiction(record: DatasetRecord) -> str:
    """Return what two fields of a record disagree about; an empty text where they agree."""
    if set(record.splits) != set(SPLITS):
        return f"expected the splits {', '.join(SPLITS)}, but found {', '.join(record.splits) or 'none'}"
    if not len(record.normalisation.mean) == len(record.normalisation.std) == record.channels:
        return f"expected {record.channels} means and deviations, one for each channel"
    if min(record.normalisation.std) <= 0:
        return f"expected deviations above 0, but found {list(record.normalisation.std)}"
    for name, split in record.splits.items():
        if not len(split.class_ids) == len(split.class_names) == len(split.counts):
            return f"split '{name}' has not as many ids, names and counts of classes"
        if len(set(split.class_ids)) < len(split.class_ids) or len(set(split.class_names)) < len(split.class_names):
            return f"split '{name}' has a class twice"
        shape = [sum(split.counts), record.channels, record.image_size, record.image_size]
        if split.shape != shape:
            return f"expected split '{name}' to have shape {shape}, but found {split.shape}"
    return ""


def source_of(path: Path) -> SourceFile:
    """Return name and sha256 of an archive, or of a whole folder. Costs one read of everything.

    A folder's hash is taken over the sorted lines ``<sha256 of a file>  <its relative path>``, the format of
    ``sha256sum``, so that it can be computed without this package.
    """
    if path.is_file():
        return SourceFile(path.name, _sha256(path))
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    lines = "".join(f"{_sha256(file)}  {name}\n" for name, file in files)
    return SourceFile(path.resolve().name, hashlib.sha256(lines.encode()).hexdigest())


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
