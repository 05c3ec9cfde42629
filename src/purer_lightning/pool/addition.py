"""``purer pool add``: a user's own classifier becomes a teacher."""

import math
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from purer_lightning.errors import PurerError
from purer_lightning.nets import NetworkSpec
from purer_lightning.nets.normalisation import Normalisation
from purer_lightning.pool.checks import check_classes, check_record, checked_network
from purer_lightning.pool.manifest import MANIFEST, PoolManifest, TeacherRecord, check_normalisation, read_manifest
from purer_lightning.pool.writing import check_same_images, store_teacher


def add(
    pool: str,
    weights: str,
    architecture: str,
    class_names: list[str],
    dataset: str,
    image_size: int,
    channels: int,
    mean: list[float],
    std: list[float],
    class_ids: list[int] | None = None,
    name: str | None = None,
    arguments: dict[str, int] | None = None,
    held_out_accuracy: float | None = None,
) -> None:
    """Add a classifier of your own to a pool. Everything is checked before anything is written.

    Args:
        pool: the pool's folder; made when missing.
        weights: a state_dict: .safetensors, or .pt and .pth with tensors only.
        architecture: its name in the registry, for example conv4.
        class_names: the class of each output, in the order of the outputs.
        dataset: what the classes are of; classes of one data set with one name are one class.
        image_size: height and width in pixels.
        channels: image channels.
        mean: channel means that its training subtracted, of images scaled to 0 to 1.
        std: channel deviations that its training divided by.
        class_ids: ids of the classes in the data set. When not given, names that the pool knows keep theirs and new
            ones get the next.
        name: of the teacher in the pool; the file's name without its ending when not given.
        arguments: further arguments of the architecture, for example ``{width: 64}``.
        held_out_accuracy: fraction 0 to 1 on images not trained on, if you know it.

    Raises:
        PurerError: the file cannot be read safely, or the classifier does not fit its description or the pool.
    """
    folder, normalisation = Path(pool), Normalisation(tuple(mean), tuple(std))
    check_normalisation(normalisation, channels, "`mean` and `std`")
    _check_accuracy(held_out_accuracy)
    manifest = PoolManifest(image_size, channels, normalisation, [])
    if (folder / MANIFEST).is_file():
        existing = read_manifest(folder)
        check_same_images(existing, manifest, f"'{weights}'")
        manifest = existing
    name = _free_name(name or Path(weights).stem, manifest, folder)
    ids = class_ids or derived_ids(manifest, dataset, class_names)
    spec = NetworkSpec(architecture, len(class_names), channels, image_size, arguments or {})
    record = TeacherRecord(
        name, f"{name}.safetensors", "", spec, dataset, list(ids), list(class_names), held_out_accuracy
    )
    where = f"'{weights}'"
    check_record(manifest, record, where)
    manifest.teachers.append(record)
    check_classes(manifest)
    state = read_state_dict(weights)
    checked_network(state, spec, where)
    store_teacher(folder, PoolManifest(image_size, channels, normalisation, [record]), state, {})
    print(f"Added '{name}' with {len(ids)} classes to '{folder}'. `purer pool check {folder}` shows the pool.")


def derived_ids(manifest: PoolManifest, dataset: str, class_names: list[str]) -> list[int]:
    """Return the id of each class: that of the same name in the pool's data set, or else the next free one in turn."""
    known = {
        name: number
        for record in manifest.teachers
        if record.dataset == dataset
        for number, name in zip(record.class_ids, record.class_names, strict=False)
    }
    for name in class_names:
        known.setdefault(name, max(known.values(), default=-1) + 1)
    return [known[name] for name in class_names]


def read_state_dict(path: str) -> dict[str, Tensor]:
    """Read tensors by name without executing anything that the file contains.

    Args:
        path: .safetensors, or what torch.save made of a state_dict or of ``{"state_dict": ...}``.

    Returns:
        Floating point tensors as float32, all contiguous and on the CPU.

    Raises:
        PurerError: no such file, not readable, or more in it than tensors.
    """
    if not Path(path).is_file():
        raise PurerError(f"Expected the weights of a classifier in '{path}', but there is no such file.")
    content = _read_safetensors(path) if Path(path).suffix == ".safetensors" else _read_pickle(path)
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise PurerError(
            f"Expected a state_dict, tensors by name, in '{path}', but found {_kinds(content)}. "
            "Save it with `torch.save(model.state_dict(), path)`."
        )
    return {str(key): (t.float() if t.is_floating_point() else t).contiguous() for key, t in content.items()}


def _read_safetensors(path: str) -> Any:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise PurerError(
            f"Expected a complete safetensors file in '{path}', but it is truncated or damaged ({error}). "
            "Copy it again."
        ) from error


def _read_pickle(path: str) -> Any:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise PurerError(
            f"'{path}' holds more than tensors, or is damaged; reading it could execute code, so it is refused. "
            "Where you trust it, load it yourself and save `model.state_dict()` as safetensors."
        ) from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise PurerError(f"Expected a file of torch.save in '{path}', but it is damaged. Copy it again.") from error
    return content.get("state_dict", content) if isinstance(content, dict) else content


def _free_name(name: str, manifest: PoolManifest, folder: Path) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name == Path(MANIFEST).stem:
        raise PurerError(
            f"Expected a teacher's `name` of letters, digits, '.', '_' and '-', other than 'pool', but got '{name}'."
        )
    if name in {record.name for record in manifest.teachers} or (folder / f"{name}.safetensors").exists():
        raise PurerError(f"The pool '{folder}' already has a teacher '{name}'. Give another `name`.")
    return name


def _check_accuracy(accuracy: float | None) -> None:
    if accuracy is not None and not (math.isfinite(accuracy) and 0 <= accuracy <= 1):
        raise PurerError(f"Expected `held_out_accuracy` as a fraction between 0 and 1, but got {accuracy}.")


def _kinds(content: Any) -> str:
    if not isinstance(content, dict):
        return f"one {type(content).__name__}"
    kinds = sorted({type(value).__name__ for value in content.values()})
    return f"a dictionary with {', '.join(kinds) or 'nothing'}"
