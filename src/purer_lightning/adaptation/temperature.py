"""Turns the softmax into probabilities: one temperature, fitted on held-out support pictures.

A nearest centroid's cosines lie between -1 and 1, and their softmax is almost even however sure the answer; a diverging
inner loop errs the other way. Dividing the logits by one number changes no label and mends both (Guo et al. 2017).
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

FOLDS = 5
# Each 12 % above the one before, finer than few pictures can tell. Plain numbers: a tensor would be of the kind that
# the first import finds switched on.
TEMPERATURES = tuple(torch.logspace(-2, 2, 81, dtype=torch.float32, device="cpu").tolist())


def folds(labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (positions to adapt to, positions held out), each picture held out at most once.

    A class's only picture is never held out. There is no fold where no class has two.

    Args:
        labels: int64 (N,), 0 to way - 1, each at least once.
    """
    member = F.one_hot(labels)
    counts, number = member.sum(dim=0), (member.cumsum(dim=0) * member).sum(dim=1) - 1  # within its class
    for fold in range(min(FOLDS, int(counts.max()))):
        held = (number % FOLDS == fold) & (counts[labels] > 1)
        if held.any():
            yield torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature under which held-out pictures' labels are likeliest.

    The targets are smoothed as if one picture more had been seen, of any class (Platt 1999): otherwise a few pictures
    that are all right would ask for certainty.

    Args:
        logits: float (N, way), N at least 1.
        labels: int64 (N,), 0 to way - 1.
    """
    smoothing = 1 / (len(labels) + 1)
    losses = [F.cross_entropy(logits / t, labels, label_smoothing=smoothing) for t in TEMPERATURES]
    return float(TEMPERATURES[int(torch.stack(losses).argmin())])
