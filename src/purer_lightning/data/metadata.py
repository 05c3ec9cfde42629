"""``dataset.json``: what a prepared data set is, beside its pictures."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from purer_lightning.errors import PurerError
from purer_lightning.nets.normalisation import Normalisation

FORMAT = 1
SPLITS = ("train", "val", "test")
RECORD_FILE = "dataset.json"


@dataclass
class SourceFile:
    """Where pictures came from.

    Attributes:
        file: name of the archive or folder, without its path, which differs from machine to machine.
        sha256: of an archive's bytes; of a folder, of its files' relative paths and hashes (see `source_of`).
    """

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

    class_ids: list[int]
    class_names: list[str]
    counts: list[int]
    shape: list[int]
    bytes: int


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

    name: str
    image_size: int
    channels: int
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


def read_record(file: Path) -> DatasetRecord:
    """Read ``dataset.json``.

    Raises:
        PurerError: not JSON, another format version, or a field missing.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        version = content.pop("format")
        if version != FORMAT:
            raise PurerError(
                f"Expected format {FORMAT} in {file}, but found {version}: prepare the data set anew with this version."
            )
        mean, std = content["normalisation"]["mean"], content["normalisation"]["std"]
        content["normalisation"] = Normalisation(tuple(mean), tuple(std))
        content["sources"] = [SourceFile(**source) for source in content["sources"]]
        content["splits"] = {name: SplitRecord(**content["splits"][name]) for name in SPLITS}
        return DatasetRecord(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PurerError(
            f"Expected a data set's description in {file}, but could not read it ({type(error).__name__}: {error}): "
            "copy the folder again or prepare the data set anew."
        ) from error


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
