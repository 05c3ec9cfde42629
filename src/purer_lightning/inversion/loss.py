"""L_EI: the loss by which images are inverted out of a network (PURER, Episode Inversion)."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from purer_lightning.compute.backend import PLAIN, Backend
from purer_lightning.inversion.priors import Prior, Seen, pixel_norms
from purer_lightning.nets.statistics import Statistics

Terms = dict[str, Tensor]
"""Name of a term of L_EI -> its value before its weight, a scalar; "class" is the cross-entropy, "total" the loss."""


def inversion_loss(
    network: nn.Module,
    weights: dict[str, Tensor],
    images: Tensor,
    labels: Tensor,
    wanted: Statistics,
    priors: Sequence[Prior],
    backend: Backend = PLAIN,
) -> Terms:
    """Evaluate L_EI = CE + the weighted sum of the priors on one network's batch.

    Args:
        network: a teacher, or the adapted meta-model.
        weights: replacements for the network's own weights; ``{}`` for a teacher.
        images: (N, C, H, W), normalised pixel space; norms run over the whole batch.
        labels: int64 (N,), the network's own output indices.
        wanted: statistics that the images' BatchNorm inputs should have; ``{}`` leaves R_feature out.
        priors: each with a name of its own.
        backend: how it is computed.

    Returns:
        The terms, total and class first; the graph reaches ``images`` (and ``weights``, if these require gradients).
    """
    output = backend.run(network, weights, images, statistics=bool(wanted))
    return weighted_terms(Seen(images, labels, *output, wanted, backend.fast(pixel_norms)), priors)


def weighted_terms(seen: Seen, priors: Sequence[Prior]) -> Terms:
    """Return the class term, each prior's term and their weighted sum for what a network has seen."""
    class_term = F.cross_entropy(seen.logits, seen.labels)
    terms = {prior.name: prior(seen) for prior in priors}
    total = class_term
    for prior in priors:
        total = total + prior.weight * terms[prior.name]
    return {"total": total, "class": class_term, **terms}


def summed(terms: Sequence[Mapping[str, Tensor]]) -> Terms:
    """Add up the terms of several networks in their order; all have the same names."""
    total = dict(terms[0])
    for more in terms[1:]:
        total = {name: value + more[name] for name, value in total.items()}
    return total
