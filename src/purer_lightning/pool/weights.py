"""Reading a classifier's weights from files as they lie about, without running code and without guessing.

State dicts come with a prefix of their wrapper (``module.`` of DataParallel, ``_orig_mod.`` of torch.compile,
``model.`` of a LightningModule), nested in a checkpoint, without BatchNorm's batch counters, in half precision. The
tensors taken are those whose names are exactly the network's. Where several parts of a file have them, nobody can tell
which is meant, and the file is refused.
"""

import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from purer_lightning.errors import PurerError
from purer_lightning.files.contents import SAFETENSORS, content_of, may_be_of_torch
from purer_lightning.nets import NetworkSpec

COUNTER = "num_batches_tracked"  # how many batches a BatchNorm has averaged over; no inference uses it
DEPTH = 3  # of dictionaries within dictionaries that are searched
STATE_DICT = "the tensors by name that `torch.save(model.state_dict(), path)` writes"


class Part(NamedTuple):
    """Tensors of a file that belong together.

    Attributes:
        where: the keys that lead to them, and their names' common beginning; "" for the whole file.
        tensors: by name, the beginning left out.
    """

    where: str
    tensors: dict[str, Tensor]


def read_weights(path: str, expected: Mapping[str, Tensor]) -> Part:
    """Read the tensors of a network from a file, without executing anything that it contains.

    Args:
        path: safetensors, or what torch.save made of a state_dict, perhaps prefixed or within dictionaries.
        expected: the network's own state_dict, for its names and for the types that they have; may be on "meta".

    Returns:
        The tensors that fit, contiguous and on the CPU, floating point as float32, counters as int64; those of the
        file's one part with tensors where none fits, for the checks to say what is wrong with it.

    Raises:
        PurerError: no such file, not readable, no state_dict in it, more than one that fits, or tensors of a type that
            a network's weights cannot have.
    """
    content = _content(path)
    parts = list(_parts(content))
    if not parts:
        raise PurerError(
            f"Expected a state_dict, tensors by name, in '{path}', but found {_kinds(content)}. Give {STATE_DICT}."
        )
    fitting = [found for part in parts for found in _without_prefixes(part) if _names(found) == _names(expected)]
    if len(fitting) > 1:
        listed = ", ".join(f"'{part.where}'" for part in fitting)
        raise PurerError(
            f"'{path}' holds {len(fitting)} sets of tensors that could be the network's, under {listed}. Save the one "
            f"that is meant alone, as {STATE_DICT}."
        )
    if not fitting and len(parts) > 1:
        listed = ", ".join(f"'{part.where}'" for part in parts)
        raise PurerError(
            f"'{path}' holds tensors under {listed}, none of them with the names of the architecture's. Save the "
            f"classifier's alone, as {STATE_DICT}, and name the architecture that it is of."
        )
    part = fitting[0] if fitting else _longest(parts[0], expected)
    tensors = {name: _plain(name, tensor, expected.get(name), path) for name, tensor in part.tensors.items()}
    if fitting:
        absent = expected.keys() - tensors.keys()  # counters alone
        tensors |= {name: torch.zeros(expected[name].shape, dtype=torch.int64) for name in absent}
    return Part(part.where, tensors)


def tensors_of(spec: NetworkSpec) -> dict[str, Tensor]:
    """Return the names, shapes and types of a teacher's tensors, on the device "meta": without memory or a draw.

    Raises:
        PurerError: unknown architecture or argument.
    """
    with torch.device("meta"):
        return dict(spec.build(running_statistics=True).float().state_dict())


def _names(tensors: Part | Mapping[str, Tensor]) -> set[str]:
    names = tensors.tensors if isinstance(tensors, Part) else tensors
    return {name for name in names if not name.endswith(COUNTER)}


def _parts(content: Any, where: str = "", depth: int = DEPTH) -> Iterator[Part]:
    """Yield each dictionary of tensors alone within a file's content; an optimiser's state is none."""
    if not isinstance(content, Mapping) or not content:
        return
    if all(isinstance(value, Tensor) and isinstance(name, str) for name, value in content.items()):
        yield Part(where, dict(content))
    elif depth:
        for key, value in content.items():
            yield from _parts(value, f"{where}/{key}" if where else str(key), depth - 1)


def _without_prefixes(part: Part) -> Iterator[Part]:
    """Yield a part for each beginning that names in it have, "" first: what has it, without it."""
    prefixes = {name[: at.end()] for name in part.tensors for at in re.finditer(r"\.", name)}
    for prefix in ["", *sorted(prefixes)]:
        kept = {name.removeprefix(prefix): t for name, t in part.tensors.items() if name.startswith(prefix)}
        yield Part("/".join(filter(None, [part.where, prefix])), kept)


def _longest(part: Part, expected: Mapping[str, Tensor]) -> Part:
    """Return the part without the beginning that lets most names fit, so that what is missing is named."""
    return max(_without_prefixes(part), key=lambda found: len(_names(found) & _names(expected)))


def _plain(name: str, tensor: Tensor, expected: Tensor | None, path: str) -> Tensor:
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_quantized or tensor.layout != torch.strided or tensor.is_complex():
        layout = "quantised" if tensor.is_quantized else "sparse" if tensor.layout != torch.strided else kind
        raise PurerError(f"Expected dense real tensors in '{path}', but '{name}' is {layout}. Save them as float32.")
    if expected is not None and expected.is_floating_point() and not tensor.is_floating_point():
        raise PurerError(
            f"Expected '{name}' in '{path}' as floating point numbers, but it is {kind}, as quantised weights are. "
            "Save the weights from before quantisation."
        )
    if name.endswith(COUNTER):
        return tensor.detach().long()
    return (tensor.float() if tensor.is_floating_point() else tensor).detach().contiguous()


def _content(path: str) -> Any:
    file = Path(path)
    if not file.is_file():
        found = "it is a folder" if file.is_dir() else "it is no file" if file.exists() else "there is no such file"
        raise PurerError(f"Expected the weights of a classifier in '{path}', but {found}.")
    try:
        content = content_of(file)
    except OSError as error:
        raise PurerError(f"The weights in '{path}' cannot be read: {error.strerror}. Give another file.") from error
    named_so = file.suffix == ".safetensors" and not may_be_of_torch(file)  # cut short, perhaps
    if (content and content.what == SAFETENSORS) or (content is None and named_so):
        return _of_safetensors(path)
    if content:
        remedy = content.remedy or f"give a safetensors file, or {STATE_DICT}"
        raise PurerError(f"Expected the weights of a classifier in '{path}', but it is {content.what}; {remedy}.")
    return _of_torch(path)


def _of_safetensors(path: str) -> Any:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise PurerError(
            f"Expected a complete safetensors file in '{path}', but it is truncated or damaged ({error}). "
            "Copy it again."
        ) from error


def _of_torch(path: str) -> Any:
    try:
        with Path(path).open("rb") as file:  # given a name, torch goes by the name's ending
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise PurerError(
            f"'{path}' holds more than tensors{_what_more(path, str(error))}, or is damaged; reading it could execute "
            "code, so it is refused. Where you trust it, load it yourself and save `model.state_dict()` as safetensors."
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise PurerError(f"Expected a file of torch.save in '{path}', but it is damaged. Copy it again.") from error


def _what_more(path: str, complaint: str) -> str:
    """Return which class of a pickle is no tensor's, in brackets; nothing where that cannot be told."""
    named = re.search(r"GLOBAL ([\w.]+)", complaint)
    if not named:
        return ""
    return f" (a whole module, {named.group(1)})" if _is_object(path) else f" ({named.group(1)})"


def _is_object(path: str) -> bool:
    """Whether a file of torch.save is one object of a class, rather than a dictionary; nothing is executed."""
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
            operations = pickletools.genops(archive.read(name))
            first = next(operation for operation in operations if operation[0].name not in ("PROTO", "FRAME"))
    except (OSError, ValueError, StopIteration, zipfile.BadZipFile):
        return False
    return first[0].name == "GLOBAL" and first[1] != "collections OrderedDict"


def _kinds(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"one {type(content).__name__}"
    kinds = sorted({type(value).__name__ for value in content.values()})
    return f"a dictionary with {', '.join(kinds) or 'nothing'}"
