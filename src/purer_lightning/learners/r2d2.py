"""R2D2 (Bertinetto et al. 2019): features trained so that ridge regression works on them."""

import math

import torch
from torch import nn

from purer_lightning.learners.base import BatchNormMode
from purer_lightning.learners.features import FeatureLearner
from purer_lightning.learners.heads import Head, Ridge
from purer_lightning.nets.functional import Weights


class R2D2(FeatureLearner):
    """Ridge regression in closed form, trained through, with its scale and regularisation learnt in log space.

    Args:
        architecture: a name of the registry in ``purer_lightning.nets``.
        arguments: further arguments of the architecture.
        regularisation: where the learnt one starts, above 0; 50 in the released code.
        scale: where the learnt scale of the logits starts, above 0. Ours: predictions lie between 0 and 1, and
            cross-entropy wants logits that lie further apart.
        batchnorm: whose statistics normalise the query images.
        outputs: of the network's linear head, which plays no part; to load a checkpoint that has others.
    """

    def __init__(
        self,
        architecture: str = "conv4",
        arguments: dict[str, int] | None = None,
        regularisation: float = 50.0,
        scale: float = 10.0,
        batchnorm: BatchNormMode = "transductive",
        outputs: int | None = None,
    ) -> None:
        super().__init__(architecture, arguments, batchnorm, outputs)
        self.regularisation, self.scale = regularisation, scale
        for name, start in (("log_regularisation", regularisation), ("log_scale", scale)):
            self.learnt[name] = nn.Parameter(torch.tensor(math.log(start)))

    def head(self, learnt: Weights) -> Head:
        """Return ridge regression with the learnt settings."""
        return Ridge(learnt["log_regularisation"].exp(), learnt["log_scale"].exp())
