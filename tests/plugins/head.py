"""Nearest neighbour: a query image has the label of the most similar support image."""

import torch
from torch import Tensor
from torch.nn import functional as F

from purer_lightning.learners.heads import Head, one_hot
from purer_lightning.nets.functional import Weights


class NearestNeighbour(Head):
    """Logits are the largest cosine similarity with a support image of each class."""

    def fit(self, features: Tensor, labels: Tensor, way: int) -> Weights:
        """Keep the support features, of length 1, and which class each is of."""
        return {"features": F.normalize(features, dim=1), "member": one_hot(labels, way, features)}

    def logits(self, features: Tensor, state: Weights) -> Tensor:
        """Return (M, way) of query features (M, D)."""
        similarity = F.normalize(features, dim=1) @ state["features"].T
        of_class = torch.where(state["member"].T.bool(), similarity.unsqueeze(1), -torch.inf)
        return of_class.amax(dim=2)
