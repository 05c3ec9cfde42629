"""Nearest centroid in feature space: no training, no gradient; the baseline that a meta-learner has to beat."""

import torch
from torch import Tensor
from torch.nn import functional as F

from purer_lightning.learners.base import Learner
from purer_lightning.nets import functional as nets
from purer_lightning.nets.functional import Weights

CENTROIDS = "centroids"


class NearestCentroid(Learner):
    """Labels a query image by the class whose mean support feature has the largest cosine similarity.

    Features are l2-normalised before and after the mean, as usual in the few-shot literature.
    """

    calibratable = False  # its fast weights are centroids

    def adapt(self, weights: Weights, support: Tensor, labels: Tensor, *, second_order: bool = False) -> Weights:
        """Return ``weights`` with the class centroids, (way, D), under the name ``centroids``."""
        del second_order  # a mean has no inner gradient
        weights = self.with_support_statistics(weights, support)
        features = F.normalize(self.represent(support, weights), dim=1)
        way = int(labels.max()) + 1
        centroids = torch.stack([features[labels == label].mean(dim=0) for label in range(way)])
        return weights | {CENTROIDS: F.normalize(centroids, dim=1)}

    def logits(self, images: Tensor, fast: Weights) -> Tensor:
        """Return cosine similarities (N, way)."""
        return F.normalize(self.represent(images, fast), dim=1) @ fast[CENTROIDS].T

    def represent(self, images: Tensor, fast: Weights) -> Tensor:
        """Return what is compared, (N, D): the features before the linear head."""
        network_weights = {name: value for name, value in fast.items() if name != CENTROIDS}
        return nets.features(self.caller(network_weights), network_weights, images)
