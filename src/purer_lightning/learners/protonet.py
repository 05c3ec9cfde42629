"""Prototypical networks (Snell et al. 2017): features trained so that nearest centroid works on them."""

import math
from typing import Any, Literal

import torch
from torch import nn

from purer_lightning.learners.base import BatchNormMode
from purer_lightning.learners.features import FeatureLearner
from purer_lightning.learners.heads import CosineCentroid, EuclideanCentroid, Head
from purer_lightning.nets.functional import Weights


class ProtoNet(FeatureLearner):
    """Nearest centroid, trained through.

    Args:
        architecture: a name of the registry in ``purer_lightning.nets``.
        arguments: further arguments of the architecture.
        distance: "euclidean", squared, as published; or "cosine" with a learnt scale (Gidaris and Komodakis 2018).
        scale: where the learnt scale of "cosine" starts, above 0; 10 in Gidaris and Komodakis (2018).
        batchnorm: whose statistics normalise the query images.
        outputs: of the network's linear head, which plays no part; to load a checkpoint that has others.
    """

    def __init__(
        self,
        architecture: str = "conv4",
        arguments: dict[str, int] | None = None,
        distance: Literal["euclidean", "cosine"] = "euclidean",
        scale: float = 10.0,
        batchnorm: BatchNormMode = "transductive",
        outputs: int | None = None,
    ) -> None:
        super().__init__(architecture, arguments, batchnorm, outputs)
        self.distance, self.scale = distance, scale
        if distance == "cosine":
            self.learnt["log_scale"] = nn.Parameter(torch.tensor(math.log(scale)))

    def head(self, learnt: Weights) -> Head:
        """Return nearest centroid by the chosen distance."""
        if self.distance == "cosine":
            return CosineCentroid(learnt["log_scale"].exp())
        return EuclideanCentroid()

    def describe(self) -> dict[str, Any]:
        """Describe this learner for checkpoints and results, in plain types."""
        return super().describe() | {"distance": self.distance}
