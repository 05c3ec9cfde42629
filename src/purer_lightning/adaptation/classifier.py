"""An adapted meta-model: a classifier of the pictures that it was shown, for Python, and what pictures it takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from torch import Tensor

from purer_lightning.adaptation.export import FORMAT, METADATA, export
from purer_lightning.adaptation.loading import MetaModelRecord, record_from_plain
from purer_lightning.compute.surroundings import usual_surroundings
from purer_lightning.errors import PurerError
from purer_lightning.files.contents import other_than_safetensors
from purer_lightning.files.records import STRICT, parsed
from purer_lightning.learners.base import Learner
from purer_lightning.nets.functional import Weights

AGAIN = "give a file that purer adapt --export model.safetensors wrote"
BATCH = 256  # pictures at a time; a few MB at the usual sizes


@dataclass(frozen=True)
class AdaptedClassifier:
    """What ``MetaModel.adapt`` returns. It stays as it is, whatever the meta-model does next.

    Attributes:
        learner: of the meta-model, for ``len(class_names)`` classes.
        fast: its adapted weights, without a graph.
        record: what the meta-model is.
        class_names: in the order of the probabilities.
        temperature: that the logits are divided by before the softmax.
    """

    learner: Learner
    fast: Weights
    record: MetaModelRecord
    class_names: tuple[str, ...]
    temperature: float = 1.0

    @usual_surroundings()
    def predict(self, images: Tensor) -> Tensor:
        """Return the probability of each class.

        Each picture's answer is its own, but in BatchNorm's transductive mode, where all of ``images`` see one another.

        Args:
            images: (N, C, H, W) of the meta-model's channels and size; uint8 0 to 255, or floating point 0 to 1.

        Returns:
            float32 (N, len(class_names)), rows that add up to 1.

        Raises:
            PurerError: other images, or adaptation has diverged.
        """
        logits = self.logits(images)
        if not logits.isfinite().all():
            raise PurerError(
                "Expected finite predictions, but adaptation to these pictures has diverged; give a meta-model of a "
                "smaller inner_lr, or leave ICFIL out."
            )
        return (logits / self.temperature).softmax(dim=1)

    @usual_surroundings()
    def logits(self, images: Tensor) -> Tensor:
        """Return what the probabilities are the softmax of, before the temperature: float32 (N, len(class_names)).

        Args:
            images: as in ``predict``.
        """
        normalised = normalise(images, self.record)
        if self.learner.batchnorm == "transductive":
            batches: Sequence[Tensor] = [normalised]
        else:
            batches = torch.split(normalised, BATCH)
        with torch.no_grad():
            return torch.cat([self.learner.logits(batch, self.fast) for batch in batches])

    @usual_surroundings()
    def save(self, file: str | Path) -> None:
        """Write it to a file: model.onnx for deployment, model.safetensors for ``purer_lightning.load_adapted``.

        Raises:
            PurerError: another suffix, packages missing, or the file cannot be written; nothing is left behind.
        """
        export(self, Path(file))


def normalise(images: Tensor, record: MetaModelRecord) -> Tensor:
    """Check pictures and bring them into normalised pixel space.

    Args:
        images: (N, C, H, W), N at least 1; uint8 0 to 255, or floating point 0 to 1.
        record: of the meta-model.

    Returns:
        float32 of the same shape.

    Raises:
        PurerError: another shape, type or range.
    """
    if not isinstance(images, Tensor):
        raise PurerError(f"Expected pictures as a tensor of torch, but got {type(images).__name__}; read() makes one.")
    wanted = (record.channels, record.image_size, record.image_size)
    if images.dim() != 4 or not len(images) or images.shape[1:] != wanted:
        raise PurerError(
            f"Expected pictures of shape (N, {', '.join(map(str, wanted))}), but got {tuple(images.shape)}; read files "
            "with the meta-model's read(), or resize them."
        )
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise PurerError(f"Expected pictures as uint8 0 to 255 or as floats 0 to 1, but got {images.dtype}.")
    images = images.detach().cpu()  # where the meta-model is
    unit = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    if not (unit.isfinite().all() and unit.min() >= 0 and unit.max() <= 1):
        raise PurerError(
            f"Expected pictures as floats from 0 to 1, but got values from {unit.min():g} to {unit.max():g}; give them "
            "before any normalisation, or as uint8."
        )
    return record.normalisation.apply_to_unit(unit)


@dataclass
class StoredClassifier:
    """The metadata of a file that ``save`` wrote.

    Attributes:
        meta_model: see ``MetaModelRecord``.
        class_names: in the order of the probabilities.
        temperature: of the softmax.
    """

    __pydantic_config__ = STRICT

    meta_model: dict[str, Any]
    class_names: list[str]
    temperature: Annotated[float, Field(gt=0)]


@usual_surroundings()
def load_adapted(path: str | Path, *, learner: type[Learner] | None = None) -> AdaptedClassifier:
    """Load a classifier that ``purer adapt --export model.safetensors`` or ``AdaptedClassifier.save`` wrote.

    Args:
        path: of the file.
        learner: the class of a learner of your own. What a file names is never imported.

    Raises:
        PurerError: no such file, or one of something else; no code is run.
    """
    wrong = f"'{path}' is no adapted classifier; give a file that purer adapt --export model.safetensors wrote"
    if other := other_than_safetensors(Path(path)):
        raise PurerError(f"{wrong} (it is {other.what}" + (f": {other.remedy})." if other.remedy else ")."))
    try:
        with safe_open(str(path), framework="pt") as file:
            description = (file.metadata() or {}).get(METADATA)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
    except (OSError, SafetensorError, ValueError) as error:
        raise PurerError(f"{wrong} ({error}).") from error
    if description is None:
        raise PurerError(f"{wrong} (it does not describe one).")
    stored = parsed(description.encode(), StoredClassifier, FORMAT, f"'{path}'", AGAIN)
    record, names = record_from_plain(stored.meta_model, f"'{path}'"), stored.class_names
    try:
        # In the memory format of the network's own weights, which is faster on a CPU.
        fast = {n: v.to(memory_format=torch.channels_last) if v.dim() == 4 else v for n, v in tensors.items()}
        built = record.build(learner).for_way(len(names))
        classifier = AdaptedClassifier(built, fast, record, tuple(names), stored.temperature)
        answer = classifier.predict(torch.zeros(1, record.channels, record.image_size, record.image_size))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise PurerError(f"{wrong}: its weights do not fit what it says of them ({error}).") from error
    if answer.shape != (1, len(names)):
        raise PurerError(f"{wrong}: it names {len(names)} classes, but tells {answer.shape[1]} apart.")
    return classifier
