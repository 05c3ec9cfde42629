"""``purer pool add``: a user's own classifier becomes a teacher."""

import math
import re
import shlex
import unicodedata
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from purer_lightning.errors import PurerError
from purer_lightning.nets import NETWORKS, NetworkSpec
from purer_lightning.nets.normalisation import Normalisation
from purer_lightning.pool.checks import check_classes, check_record
from purer_lightning.pool.manifest import MANIFEST, PoolManifest, TeacherRecord, check_normalisation, read_manifest
from purer_lightning.pool.networks import checked_network
from purer_lightning.pool.weights import COUNTER, read_weights, tensors_of
from purer_lightning.pool.writing import check_same_images, pool_lock, store_teacher


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
        weights: a state_dict, as safetensors or by torch.save; also with a prefix of a wrapper to its names (module.,
            _orig_mod., model.), or within a checkpoint's dictionary, where it is the only one that fits.
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
    _check_scale(normalisation)
    _check_accuracy(held_out_accuracy)
    NETWORKS.name(architecture, "--architecture")
    class_names = [unicodedata.normalize("NFC", each) for each in class_names]  # one name, however it was typed
    _check_classes(class_names, class_ids)
    spec = NetworkSpec(architecture, len(class_names), channels, image_size, arguments or {})
    name = name or Path(weights).stem
    record = TeacherRecord(
        name, f"{name}.safetensors", "", spec, dataset, class_ids or [], list(class_names), held_out_accuracy
    )
    alone = PoolManifest(image_size, channels, normalisation, [record])
    _place(folder, alone, class_ids, weights)
    part = read_weights(weights, tensors_of(spec))
    checked_network(part.tensors, spec, f"'{weights}'")
    with pool_lock(folder, "purer pool add"):
        manifest = _place(folder, alone, class_ids, weights)  # again: another process may have added one meanwhile
        _check_new(folder, manifest, spec, part.tensors)
        store_teacher(folder, alone, part.tensors, {})
    taken = f", from the tensors under '{part.where}'" if part.where else ""
    shows = shlex.join(["purer", "pool", "check", str(folder)])
    print(f"Added '{name}' with {len(class_names)} classes to '{folder}'{taken}. `{shows}` shows the pool.")


def _place(folder: Path, alone: PoolManifest, class_ids: list[int] | None, weights: str) -> PoolManifest:
    """Give a new teacher's classes their ids in a pool; return the pool as it is without the teacher.

    Raises:
        PurerError: the teacher does not fit into the pool.
    """
    (record,) = alone.teachers
    pool = PoolManifest(alone.image_size, alone.channels, alone.normalisation, [])
    if (folder / MANIFEST).is_file():
        pool = read_manifest(folder)
        check_same_images(pool, alone, f"'{weights}'")
    _check_name(record.name, pool, folder)
    record.class_ids = list(class_ids or derived_ids(pool, record.dataset, record.class_names))
    check_record(pool, record, f"'{weights}'")
    check_classes(replace(pool, teachers=[*pool.teachers, record]))
    return pool


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


def _check_name(name: str, manifest: PoolManifest, folder: Path) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name == Path(MANIFEST).stem:
        raise PurerError(
            f"Expected a teacher's `name` of letters, digits, '.', '_' and '-', other than 'pool', but got '{name}'."
        )
    if name in {record.name for record in manifest.teachers} or (folder / f"{name}.safetensors").exists():
        raise PurerError(f"The pool '{folder}' already has a teacher '{name}'. Give another `name`.")


def _check_classes(names: list[str], ids: list[int] | None) -> None:
    if any(not name.strip() for name in names):
        raise PurerError(f"Expected a name for every class in `class_names`, but got {names}; fill the blank ones.")
    if ids and min(ids) < 0:
        raise PurerError(f"Expected `class_ids` to be 0 or more, but got {min(ids)}.")


def _check_accuracy(accuracy: float | None) -> None:
    if accuracy is not None and not (math.isfinite(accuracy) and 0 <= accuracy <= 1):
        raise PurerError(f"Expected `held_out_accuracy` as a fraction between 0 and 1, but got {accuracy}.")


def _check_scale(normalisation: Normalisation) -> None:
    """Raise PurerError where means or deviations are of pixels 0 to 255.

    Of images scaled to 0 to 1 no mean exceeds 1 and no deviation 0.5; a deviation of 1 means that there was no scaling.
    """
    mean, std = normalisation
    if min(mean) < 0 or max(mean) > 1 or max(std) > 1:
        if min(mean) < 0:
            advice = "give those that the classifier's training used"
        else:
            of_bytes = [name for name, largest in (("`mean`", max(mean) > 1), ("`std`", max(std) > 0.5)) if largest]
            advice = f"divide {' and '.join(of_bytes)} by 255"
        raise PurerError(
            "Expected `mean` and `std` of images scaled to 0 to 1, of which no mean is below 0 or above 1 and no "
            f"deviation above 0.5, but got {list(mean)} and {list(std)}; {advice}."
        )


def _check_new(folder: Path, manifest: PoolManifest, spec: NetworkSpec, state: dict[str, Tensor]) -> None:
    """Raise PurerError where a teacher of the pool has the same weights: it would count twice."""
    weights = {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    for record in manifest.teachers:
        file = folder / record.file
        if record.network != spec or not file.is_file():
            continue
        with safe_open(str(file), framework="pt") as known:
            if all(torch.equal(known.get_tensor(name), tensor) for name, tensor in weights.items()):
                raise PurerError(
                    f"The pool '{folder}' already has these weights, as teacher '{record.name}'; added twice, they "
                    "would count twice. Give another classifier."
                )
