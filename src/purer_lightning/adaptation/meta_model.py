"""A trained meta-model for Python: load it, adapt it to a few labelled pictures, predict.

model = purer_lightning.load("runs/demo")
classifier = model.adapt(images, labels)
probabilities = classifier.predict(others)
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from purer_lightning.adaptation.classifier import AdaptedClassifier, normalise
from purer_lightning.adaptation.hub import fetch, is_pretrained, read_pretrained, write_pretrained
from purer_lightning.adaptation.labels import read_labels
from purer_lightning.adaptation.loading import Stored, give_weights, read_stored
from purer_lightning.adaptation.pictures import find_query, read_pictures
from purer_lightning.adaptation.temperature import best_temperature, folds
from purer_lightning.compute.surroundings import usual_surroundings
from purer_lightning.compute.threads import one_thread
from purer_lightning.errors import PurerError
from purer_lightning.evaluation.icfil import calibrate
from purer_lightning.learners.base import BatchNormMode, Learner, adapted
from purer_lightning.nets.functional import Weights


class MetaModel:
    """A meta-model that learns new classes from a few pictures each.

    Args:
        stored: as it was read.
        where: what it was read from, for messages.
        batchnorm: whose statistics normalise the pictures. None takes the training's mode, but "support" in place of
            "transductive": an answer must not depend on what else is asked.
        own: the learner's class, where it is none of this package.

    Attributes:
        record: what it is: learner, settings, ``channels``, ``image_size``, ``normalisation``.
        learner: the network and how it adapts.
        calibration: ICFIL's settings.
    """

    @usual_surroundings()
    def __init__(
        self, stored: Stored, where: str, batchnorm: BatchNormMode | None = None, own: type[Learner] | None = None
    ) -> None:
        self.stored, self.record, self.calibration = stored, stored.record, stored.calibration
        trained = self.record.settings.get("batchnorm")
        mode = "support" if batchnorm is None and trained == "transductive" else batchnorm
        if mode is not None and trained is not None and (mode == "running") != (trained == "running"):
            raise PurerError(
                f"The meta-model in {where} was trained with batchnorm '{trained}' and cannot be used with '{mode}': "
                "only a network trained with 'running' has running statistics; leave --batchnorm out."
            )
        self.learner = self.record.build(own, mode)
        give_weights(self.learner, stored.weights, where)
        self._latest: AdaptedClassifier | None = None

    @usual_surroundings()
    def adapt(
        self,
        images: Tensor,
        labels: Tensor | np.ndarray | Sequence[int] | Sequence[str],
        *,
        icfil: bool = False,
        seed: int = 0,
    ) -> AdaptedClassifier:
        """Learn new classes from labelled pictures; the meta-model's own weights stay as they are.

        The numbers of pictures may differ from class to class, and that of classes from the training's. Where classes
        have fewer pictures than the largest, theirs are shown several times (see ``repeated``). So that probabilities
        mean something, it adapts five times more, without some of the pictures each (see ``temperature``); where no
        class has two pictures, this is left out.

        Args:
            images: (N, C, H, W) of the meta-model's channels and size; uint8 0 to 255, or floating point 0 to 1.
            labels: one for each picture, numbers or names: a sequence, tensor or array of shape (N,) or (N, 1). The
                classes are the sorted distinct ones.
            icfil: calibrate the adapted model against its own inversion (ICFIL), by the run's settings.
            seed: of ICFIL's pseudo images.

        Raises:
            PurerError: other images, not as many labels, labels of two kinds, fewer than two classes, or ICFIL with a
                learner whose fast weights are not its network's.
        """
        support = normalise(images, self.record)
        names, numbers = read_labels(labels, len(support))
        if icfil and not self.learner.calibratable:
            raise PurerError(
                f"ICFIL calibrates networks that adapt all by themselves, but this meta-model's learner, "
                f"{self.record.learner} with batchnorm '{self.learner.batchnorm}', does not; leave ICFIL out."
            )
        learner, icfil_seed = self.learner.for_way(len(names)), seed if icfil else None
        fast = self._fast(support, numbers, learner, icfil_seed)
        classifier = AdaptedClassifier(learner, fast, self.record, names)
        classifier = replace(classifier, temperature=self._temperature(support, numbers, learner, icfil_seed))
        self._latest = classifier
        return classifier  # not self._latest, which another thread may have set meanwhile

    def predict(self, images: Tensor) -> Tensor:
        """Return probabilities by what ``adapt`` returned last; see ``AdaptedClassifier.predict``.

        Raises:
            PurerError: nothing has been adapted to yet, or other images.
        """
        if self._latest is None:
            raise PurerError("Expected adapt(images, labels) before predict(images), but it has not been called.")
        return self._latest.predict(images)

    @usual_surroundings()
    def read(self, files: str | Path | Sequence[str | Path]) -> Tensor:
        """Read picture files as ``adapt`` and ``predict`` take them: any size, colour or grey, any format of Pillow.

        Args:
            files: of pictures, or folders of which all are meant; or a single one.

        Returns:
            uint8 (N, C, H, W): the shorter side resized, the centre cropped.

        Raises:
            PurerError: one of them cannot be read.
        """
        named = [files] if isinstance(files, str | Path) else files
        found = find_query(list(map(str, named)), "read()")
        read = read_pictures(found, self.record.image_size, self.record.channels)
        if read.skipped or read.images is None:
            raise PurerError(f"Expected pictures that can be read, but could not read {', '.join(read.skipped)}.")
        return read.images

    @usual_surroundings()
    def save_pretrained(self, folder: str | Path, *, licence: str = "unknown") -> None:
        """Write the meta-model to a folder by the hub's conventions: config.json, model.safetensors, README.md.

        Args:
            folder: made where it is not there; files of the same names are replaced.
            licence: of the weights, by the hub's list, such as "apache-2.0". What the pool's allows, nobody else knows.

        Raises:
            PurerError: the folder cannot be written to.
        """
        write_pretrained(self.stored, Path(folder), licence)

    @classmethod
    @usual_surroundings()
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        batchnorm: BatchNormMode | None = None,
        learner: type[Learner] | None = None,
    ) -> Self:
        """Load what ``save_pretrained`` wrote.

        Args:
            name: a local folder, for which no network is asked; or ``owner/name`` of a repository on the hub.
            revision: of the repository; a commit is safest.
            batchnorm: see the class.
            learner: the class of a learner of your own. What a file names is never imported.

        Raises:
            PurerError: nothing there, no network, or nothing that can be loaded without running code.
        """
        return cls(read_pretrained(fetch(str(name), revision)), f"'{name}'", batchnorm, learner)

    def _fast(self, support: Tensor, labels: Tensor, learner: Learner, icfil_seed: int | None) -> Weights:
        """Return the adapted weights: by the very calls that ``purer test`` makes."""
        chosen = repeated(labels)
        support, labels = support[chosen], labels[chosen]
        with torch.enable_grad(), one_thread():
            fast = adapted(learner, support, labels)
            if icfil_seed is not None:
                fast = calibrate(learner, fast, support, labels, self.calibration, icfil_seed, task=0)
        return {name: value.detach() for name, value in fast.items()}

    def _temperature(self, support: Tensor, labels: Tensor, learner: Learner, icfil_seed: int | None) -> float:
        """Return the temperature that suits pictures held out of the adaptation; 1 where none can be held out."""
        logits, truths = [], []
        for kept, held in folds(labels):
            fast = self._fast(support[kept], labels[kept], learner, icfil_seed)
            with torch.no_grad():
                logits.append(learner.logits(support[held], fast))
            truths.append(labels[held])
        return best_temperature(torch.cat(logits), torch.cat(truths)) if logits else 1.0


@usual_surroundings()
def load(
    path: str | Path,
    *,
    batchnorm: BatchNormMode | None = None,
    pool: str | None = None,
    learner: type[Learner] | None = None,
) -> MetaModel:
    """Load a trained meta-model.

    Args:
        path: a run folder (its best checkpoint is taken), a checkpoint of ``purer fit``, or a folder written by
            ``save_pretrained``.
        batchnorm: whose statistics normalise the pictures; see ``MetaModel``.
        pool: folder of the pool, for checkpoints that were written before they said their normalisation.
        learner: the class of a learner of your own. What a file names is never imported.

    Raises:
        PurerError: nothing there, or nothing that can be loaded without running code.
    """
    if Path(path).suffix == ".safetensors":
        raise PurerError(
            f"'{path}' is one file of weights, not a meta-model; an adapted classifier is loaded by "
            "purer_lightning.load_adapted, a meta-model from the folder that save_pretrained wrote."
        )
    stored = read_pretrained(Path(path)) if is_pretrained(Path(path)) else read_stored(Path(path), pool)
    return MetaModel(stored, f"'{path}'", batchnorm, learner)


def repeated(labels: Tensor) -> Tensor:
    """Return which support pictures to show, so that classes weigh about the same whatever their numbers.

    A class of n pictures is shown round(largest / n) times, whole, so its mean stays what it is, and the largest class
    has at most one and a half times the smallest. Where all have as many, every picture is shown once.

    Args:
        labels: int64 (N,), 0 to way - 1, each at least once.

    Returns:
        int64 (at least N,), positions in ``labels``, ascending.
    """
    counts = torch.bincount(labels)
    times = (counts.max() / counts).round().long()
    return torch.arange(len(labels)).repeat_interleave(times[labels])
