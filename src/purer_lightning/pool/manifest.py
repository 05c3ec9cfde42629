"""What a pool says about itself: ``pool.json``, and the same for one teacher in the record beside its weights."""

import json
import math
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field

from purer_lightning.errors import PurerError
from purer_lightning.files import replacing
from purer_lightning.files.records import STRICT, FileName, read_record
from purer_lightning.nets import LARGEST, NetworkSpec
from purer_lightning.nets.normalisation import Normalisation

FORMAT = 1
MANIFEST = "pool.json"
STATE_DICT = "state_dict"
REMEDY = (
    "restore it, or delete it and run the command that made the pool again: teachers whose records are intact are kept"
)


@dataclass
class TeacherRecord:
    """One teacher, as the pool describes it.

    Attributes:
        name: unique in the pool.
        file: its safetensors file, by name; it lies in the pool's folder.
        sha256: of that file, hexadecimal.
        network: its architecture; ``network.classes`` is ``len(class_ids)``.
        dataset: the data set that its classes are of.
        class_ids: global ids within the data set; output k of the head stands for ``class_ids[k]``, in any order.
        class_names: names of the same classes, in the same order.
        held_out_accuracy: fraction 0 to 1 on images of its classes kept out of training; None when nobody measured it.
        kind: how its file is read: one of ``pool.kinds.KINDS``.
    """

    __pydantic_config__ = STRICT

    name: str
    file: FileName
    sha256: str
    network: NetworkSpec
    dataset: str
    class_ids: list[Annotated[int, Field(ge=0, lt=2**63)]]
    class_names: list[str]
    held_out_accuracy: Annotated[float, Field(ge=0, le=1)] | None
    kind: str = STATE_DICT


@dataclass
class PoolManifest:
    """A pool of teachers for images of one size, number of channels and normalisation.

    Attributes:
        image_size: height and width in pixels.
        channels: image channels.
        normalisation: what every teacher expects of its input.
        teachers: in the order of the file, which means nothing.
    """

    __pydantic_config__ = STRICT

    image_size: Annotated[int, Field(ge=1, le=LARGEST)]
    channels: Annotated[int, Field(ge=1, le=LARGEST)]
    normalisation: Normalisation
    teachers: list[TeacherRecord]


def _plain(record: TeacherRecord) -> dict[str, Any]:
    content = asdict(record)
    if record.kind == STATE_DICT:  # as pools have always been written
        del content["kind"]
    return content


Manifest = TypeVar("Manifest", bound=PoolManifest)


def read_manifest(folder: str | Path) -> PoolManifest:
    """Read ``pool.json`` of a pool's folder; no teacher's file is opened.

    Raises:
        PurerError: the folder or the file is missing or damaged, or of another format.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        found = "a folder without it" if path.parent.is_dir() else "no such folder"
        raise PurerError(
            f"Expected a pool of teachers with its {MANIFEST} in '{folder}', but found {found}. Make one with "
            f"`purer pretrain --config cifar_fs_pool.yaml --pool {shlex.quote(str(folder))}`, or add your own "
            "classifiers with `purer pool add`."
        )
    return checked_manifest(read_record(path, PoolManifest, FORMAT, REMEDY), path)


def write_manifest(folder: str | Path, manifest: PoolManifest) -> None:
    """Write ``pool.json`` atomically into an existing folder."""
    with replacing(Path(folder) / MANIFEST) as temporary:
        temporary.write_text(json.dumps(encode(manifest), indent=1) + "\n", encoding="utf-8")


def encode(manifest: PoolManifest) -> dict[str, Any]:
    """Return the manifest as plain JSON types."""
    return {
        "format": FORMAT,
        "image_size": manifest.image_size,
        "channels": manifest.channels,
        "normalisation": {"mean": list(manifest.normalisation.mean), "std": list(manifest.normalisation.std)},
        "teachers": [_plain(record) for record in manifest.teachers],
    }


def checked_manifest(manifest: Manifest, path: Path) -> Manifest:
    """Return a manifest whose numbers of means and deviations are those of its channels; else raise PurerError."""
    check_normalisation(manifest.normalisation, manifest.channels, f"'{path}'")
    return manifest


def check_normalisation(normalisation: Normalisation, channels: int, where: str) -> None:
    """Raise PurerError unless there are one finite mean and one positive finite deviation a channel."""
    mean, std = normalisation
    if len(mean) != channels or len(std) != channels:
        raise PurerError(f"Expected {channels} means and deviations in {where}, but got {len(mean)} and {len(std)}.")
    if not all(map(math.isfinite, mean + std)) or min(std) <= 0:
        raise PurerError(f"Expected finite means and positive deviations in {where}, but got {mean} and {std}.")
