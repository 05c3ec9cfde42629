"""How far a student's outputs are from the teachers' judgement, as pure functions: the losses of a distillation."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from purer_lightning.pool.ensemble import by_teacher

LossName = Literal["smooth_l1", "mse", "kl", "relational"]


def smooth_l1(said: Tensor, targets: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the mean of Huber's loss with threshold 1, which is one spread of a teacher's logits; (N, D) each."""
    del sizes
    return F.smooth_l1_loss(said, targets)


def mse(said: Tensor, targets: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the mean squared difference of (N, D) and (N, D)."""
    del sizes
    return F.mse_loss(said, targets)


def kl(said: Tensor, targets: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return KL(teacher || student), in nats, averaged over images and teachers (Hinton, Vinyals & Dean 2015).

    The softmax is taken of logits in units of each teacher's spread: a temperature that each teacher brings itself.

    Args:
        said: (N, sum of sizes), the student's outputs.
        targets: (N, sum of sizes), the teachers' logits.
        sizes: outputs of each teacher.
    """
    pairs = zip(by_teacher(said, sizes), by_teacher(targets, sizes), strict=True)
    terms = [
        F.kl_div(F.log_softmax(own, 1), F.log_softmax(wanted, 1), reduction="batchmean", log_target=True)
        for own, wanted in pairs
    ]
    return torch.stack(terms).mean()


def relational(said: Tensor, targets: Tensor, sizes: Sequence[int] = ()) -> Tensor:
    """Return smooth L1 between the images' distances to one another, each in units of their mean (Park et al. 2019).

    Only distances between images count, so the two sides may have different widths.

    Args:
        said: (N, D), N at least 2.
        targets: (N, E).
        sizes: not needed.
    """
    del sizes
    own, wanted = F.pdist(said), F.pdist(targets)
    return F.smooth_l1_loss(own / own.mean(), wanted / wanted.mean())


LOSSES: dict[LossName, Callable[[Tensor, Tensor, Sequence[int]], Tensor]] = {
    "smooth_l1": smooth_l1,
    "mse": mse,
    "kl": kl,
    "relational": relational,
}
