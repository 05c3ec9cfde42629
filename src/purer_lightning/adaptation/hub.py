"""Meta-models as folders by the hub's conventions: config.json, model.safetensors and a card. Local, unless asked."""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from purer_lightning import __version__
from purer_lightning.adaptation.loading import Stored, calibration_from_plain, record_from_plain
from purer_lightning.adaptation.model_card import model_card
from purer_lightning.errors import PurerError
from purer_lightning.files import replacing
from purer_lightning.files.contents import other_than_safetensors
from purer_lightning.files.records import STRICT, read_record

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
FORMAT = 1
AGAIN = "give a folder that save_pretrained wrote"


@dataclass
class Pretrained:
    """The content of config.json.

    Attributes:
        meta_model: see ``MetaModelRecord``.
        calibration: ICFIL's settings in the run; None for the defaults.
        provenance: what the card says of where the model comes from.
    """

    __pydantic_config__ = STRICT | {"extra": "ignore"}  # the hub's other tools may add fields of their own

    meta_model: dict[str, Any]
    calibration: dict[str, Any] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


def is_pretrained(path: Path) -> bool:
    """Whether ``path`` is a folder that ``write_pretrained`` wrote."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def write_pretrained(stored: Stored, folder: Path, licence: str) -> None:
    """Write a meta-model's weights, card and description, each file whole or not at all, the description last.

    Raises:
        PurerError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PurerError(f"Cannot make the folder '{folder}' ({error.strerror}); give another.") from error
    said = {
        "library_name": "purer-lightning",
        "library_version": __version__,
        "format": FORMAT,
        "meta_model": stored.record.to_plain(),
        "calibration": asdict(stored.calibration),
        "provenance": stored.provenance,
        "license": licence,
    }
    card = model_card(stored.record, stored.provenance, folder.resolve().name, licence)
    content = {
        WEIGHTS: save({name: value.contiguous() for name, value in stored.weights.items()}),
        CARD: card.encode(),
        CONFIG: (json.dumps(said, indent=2) + "\n").encode(),
    }
    for name, value in content.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(value)


def read_pretrained(folder: Path) -> Stored:
    """Read what ``write_pretrained`` wrote; no code is run.

    Raises:
        PurerError: a file is missing, damaged or of another format.
    """
    config, weights = folder / CONFIG, folder / WEIGHTS
    if other := other_than_safetensors(weights):
        raise PurerError(
            f"Expected {WEIGHTS} of a meta-model in '{folder}', but it is {other.what}; "
            f"{other.remedy or 'give a folder that save_pretrained wrote'}."
        )
    try:
        tensors = load_file(weights)
    except (OSError, ValueError, SafetensorError) as error:
        raise PurerError(
            f"Expected {WEIGHTS} of a meta-model in '{folder}', but could not read it ({error}); {AGAIN}."
        ) from error
    stored = read_record(config, Pretrained, FORMAT, AGAIN)
    record = record_from_plain(stored.meta_model, f"'{config}'")
    return Stored(record, tensors, calibration_from_plain(stored.calibration, f"'{config}'"), stored.provenance)


def fetch(name: str, revision: str | None = None) -> Path:
    """Return the folder that ``name`` stands for: itself, or a repository of the hub, which is then downloaded.

    Args:
        name: a local folder, or ``owner/name`` of a repository. What begins with a folder that is there is local.
        revision: of the repository: branch, tag or, to be sure of what one gets, a commit.

    Raises:
        PurerError: no such folder, or the repository cannot be had, as without a network.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or folder.parent.is_dir():
        raise PurerError(
            f"Expected a folder written by save_pretrained, or owner/name of a repository on the hub, but there is no "
            f"folder '{name}'."
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=[CONFIG, WEIGHTS, CARD]))
    except (OSError, ValueError) as error:  # the hub's own errors are all of these
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PurerError(
            f"There is no folder '{name}', and as a repository of the hub it cannot be had ({first}); check the name, "
            "the network and HF_HUB_OFFLINE, or give a local folder."
        ) from error
