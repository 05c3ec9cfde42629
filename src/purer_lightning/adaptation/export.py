"""Adapted classifiers as files: ONNX for deployment, safetensors to load them again."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save
from torch import Tensor, nn

from purer_lightning.adaptation.loading import MetaModelRecord
from purer_lightning.errors import PurerError
from purer_lightning.files import replacing
from purer_lightning.learners.base import Learner
from purer_lightning.nets.functional import Weights
from purer_lightning.seeding import generator

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # between the probabilities of onnxruntime and torch
METADATA = "purer_lightning"
FORMAT = 1


class Classifier(Protocol):
    """What is written: the parts of ``AdaptedClassifier``, which is documented there."""

    @property
    def learner(self) -> Learner: ...  # noqa: D102
    @property
    def fast(self) -> Weights: ...  # noqa: D102
    @property
    def record(self) -> MetaModelRecord: ...  # noqa: D102
    @property
    def class_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def temperature(self) -> float: ...  # noqa: D102
    def predict(self, images: Tensor) -> Tensor: ...  # noqa: D102


class DeployedNetwork(nn.Module):
    """From pixels to probabilities, everything between them included.

    Args:
        classifier: an adapted classifier whose pictures do not see one another.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        # In a tuple: the meta-model's own weights are no part of this.
        self._classifier = (classifier,)
        self._names = {name: name.replace(".", "_") for name in classifier.fast}
        for name, value in classifier.fast.items():
            self.register_buffer(self._names[name], value.contiguous())

    def forward(self, images: Tensor) -> Tensor:
        """Map float32 images (N, C, H, W) from 0 to 1 to probabilities (N, classes)."""
        (classifier,) = self._classifier
        fast = {name: getattr(self, buffer) for name, buffer in self._names.items()}
        logits = classifier.learner.logits(classifier.record.normalisation.apply_to_unit(images), fast)
        return (logits / classifier.temperature).softmax(dim=1)


def check_exports(files: list[Path]) -> None:
    """Find out before the work whether files can be exported to.

    Raises:
        PurerError: another suffix, or ONNX without its packages.
    """
    for file in files:
        if file.suffix not in WRITERS:
            raise PurerError(
                f"Expected the file to export to end in {' or '.join(WRITERS)}, but got '{file}'; rename it."
            )
        if file.suffix == ".onnx":
            check_onnx_packages()


def check_exportable(learner: Learner, files: list[Path]) -> None:
    """Raise PurerError for an ONNX file of a learner whose classifiers are not functions of one picture."""
    if learner.batchnorm == "transductive" and any(file.suffix == ".onnx" for file in files):
        raise PurerError(
            "A transductive classifier's answers depend on what else is asked, so it is no function of a picture to be "
            "exported; adapt with batchnorm 'support'."
        )


def check_onnx_packages() -> None:
    """Raise PurerError unless everything is installed that ``export_onnx`` needs."""
    missing = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if missing:
        raise PurerError(
            f"Export to ONNX needs {', '.join(missing)}, not installed here; get it by "
            "`pip install 'purer-lightning[export]'`, or export to model.safetensors."
        )


def export(classifier: Classifier, file: Path) -> None:
    """Write an adapted classifier in the format that the suffix names; see ``export_onnx`` and ``save_adapted``."""
    check_exports([file])
    WRITERS[file.suffix](classifier, file)


def export_onnx(classifier: Classifier, file: Path) -> None:
    """Write an adapted classifier as ONNX after checking that onnxruntime agrees with torch.

    Input ``images``: float32 (batch, C, H, W), RGB or grey, from 0 to 1, of the meta-model's size, nothing normalised.
    Output ``probabilities``: float32 (batch, classes). The metadata ``class_names`` is their order, a JSON list.

    Args:
        classifier: what ``MetaModel.adapt`` returned.
        file: ends in .onnx; whole or not there at all.

    Raises:
        PurerError: onnx, onnxscript or onnxruntime is missing, the classifier is transductive, the file cannot be
            written, or onnxruntime disagrees.
    """
    check_onnx_packages()
    check_exportable(classifier.learner, [file])
    example = any_images(classifier, 2)
    try:
        with quiet():
            program: Any = torch.onnx.export(
                DeployedNetwork(classifier).eval(),
                (example,),
                input_names=["images"],
                output_names=["probabilities"],
                dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
                dynamo=True,
                verbose=False,
            )
    except RuntimeError as error:  # a user's own learner may do what ONNX cannot express
        name = type(classifier.learner).__name__
        raise PurerError(f"A classifier of the learner {name} cannot be written as ONNX: {error}") from error
    channels, size = classifier.record.channels, classifier.record.image_size
    said = {
        "class_names": json.dumps(classifier.class_names),
        "input": f"float32 (batch, {channels}, {size}, {size}), {layout(channels)}, from 0 to 1",
    }
    program.model.metadata_props.update(said)
    with replacing(file, parents=True) as temporary:
        program.save(temporary)
        check_agreement(classifier, temporary)


def layout(channels: int) -> str:
    """Return what the channels of an image are."""
    return {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")


def any_images(classifier: Classifier, count: int) -> Tensor:
    """Return float32 images (count, C, H, W) from 0 to 1 that a classifier takes, of no content."""
    record = classifier.record
    shape = (count, record.channels, record.image_size, record.image_size)
    return torch.rand(shape, generator=generator(0, "export", count))


def check_agreement(classifier: Classifier, file: Path) -> None:
    """Raise PurerError unless onnxruntime agrees with the classifier on one image and on several."""
    session = import_module("onnxruntime").InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        images = any_images(classifier, count)
        found = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        difference = float((found - classifier.predict(images)).abs().max())
        if not difference <= TOLERANCE:
            raise PurerError(
                f"Expected onnxruntime to agree with torch to {TOLERANCE:g}, but the probabilities differ by "
                f"{difference:g}, so nothing was exported; try other versions of onnx and onnxruntime."
            )


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter's remarks on absent torchvision and on its own use of deprecated functions."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def save_adapted(classifier: Classifier, file: Path) -> None:
    """Write an adapted classifier as safetensors, with all that ``load_adapted`` needs in its metadata.

    Args:
        classifier: what ``MetaModel.adapt`` returned.
        file: ends in .safetensors; whole or not there at all.

    Raises:
        PurerError: the file cannot be written.
    """
    settings = classifier.record.settings | {"batchnorm": classifier.learner.batchnorm}
    said = {
        "format": FORMAT,
        "meta_model": replace(classifier.record, settings=settings).to_plain(),
        "class_names": classifier.class_names,
        "temperature": classifier.temperature,
    }
    tensors = {name: value.contiguous() for name, value in classifier.fast.items()}
    with replacing(file, parents=True) as temporary:
        temporary.write_bytes(save(tensors, metadata={METADATA: json.dumps(said)}))


WRITERS: dict[str, Callable[[Classifier, Path], None]] = {
    ".onnx": export_onnx,
    ".safetensors": save_adapted,
}
