"""L_EI: the loss by which images are inverted out of a network (PURER, Episode Inversion)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from purer_lightning.compute.backend import PLAIN, Backend
from purer_lightning.inversion.priors import feature_distance, pixel_norms
from purer_lightning.nets.statistics import Statistics


@dataclass
class InversionWeights:
    """Weights of the priors beside the class term, whose weight is 1.

    Attributes:
        total_variation: 1e-4 in the released code of PURER.
        l2: 1e-5 in the released code of PURER.
        feature: 0.01 in the released code of PURER.
    """

    total_variation: float = 1e-4
    l2: float = 1e-5
    feature: float = 0.01


class InversionTerms(NamedTuple):
    """The unweighted terms of L_EI and their weighted total, scalars."""

    total: Tensor
    class_term: Tensor
    feature: Tensor
    total_variation: Tensor
    l2: Tensor

    def detached(self) -> "InversionTerms":
        """The same values without a graph."""
        return InversionTerms(*(term.detach() for term in self))

    def __add__(self, other: "InversionTerms") -> "InversionTerms":  # type: ignore[override]
        """Term-wise sum, to add up teachers."""
        return InversionTerms(*(a + b for a, b in zip(self, other, strict=True)))

    def logs(self) -> dict[str, Tensor]:
        """The terms under the names by which they are logged."""
        return {f"inversion/{'class' if name == 'class_term' else name}": v for name, v in self._asdict().items()}


def inversion_loss(
    network: nn.Module,
    weights: dict[str, Tensor],
    images: Tensor,
    labels: Tensor,
    wanted: Statistics,
    prior_weights: InversionWeights,
    backend: Backend = PLAIN,
) -> InversionTerms:
    """Evaluate L_EI = CE + 1e-4 R_TV + 1e-5 ||x||_2 + 0.01 R_feature on one network's batch.

    Args:
        network: a teacher, or the adapted meta-model.
        weights: replacements for the network's own weights; ``{}`` for a teacher.
        images: (N, C, H, W), normalised pixel space; the norms run over the whole batch.
        labels: int64 (N,), the network's own output indices.
        wanted: statistics that the images' BatchNorm inputs should have; ``{}`` leaves R_feature out.
        prior_weights: weights of the priors.
        backend: how it is computed.

    Returns:
        The terms; the graph reaches ``images`` (and ``weights``, if these require gradients).
    """
    output = backend.run(network, weights, images, statistics=bool(wanted))
    class_term = F.cross_entropy(output.logits, labels)
    distance = feature_distance(output.statistics, wanted)
    feature = torch.as_tensor(distance, dtype=images.dtype, device=images.device)
    variation, l2 = backend.fast(pixel_norms)(images)
    return weighted(class_term, feature, variation, l2, prior_weights)


def weighted(
    class_term: Tensor, feature: Tensor, variation: Tensor, l2: Tensor, prior_weights: InversionWeights
) -> InversionTerms:
    """Return the terms with their weighted total; scalars, or a value a network."""
    total = (
        class_term + prior_weights.total_variation * variation + prior_weights.l2 * l2 + prior_weights.feature * feature
    )
    return InversionTerms(total, class_term, feature, variation, l2)
