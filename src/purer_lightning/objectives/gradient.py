"""The theta step's gradient: the episodes one after the other, over all ranks (PURER's outer loop).

The plain, sequential definition: only one episode's graph is alive at a time.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from purer_lightning.episode import EpisodePlan
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.learners.base import Learner
from purer_lightning.objectives.base import Objective
from purer_lightning.parallel import ALONE, Ranks, flat
from purer_lightning.precision import gradients


class MetaGradient(NamedTuple):
    """What a theta step knows, the same on each rank.

    Attributes:
        gradient: of the loss with respect to the meta-model's parameters, in one row: ``parallel.flat``.
        difficulty: scalar, see ``Outcome``; the mean over the objective's parts.
        accuracy: scalar, 0 to 1; likewise.
    """

    gradient: Tensor
    difficulty: Tensor
    accuracy: Tensor

    def packed(self) -> Tensor:
        """Return all values in one row."""
        return torch.cat([self.difficulty[None], self.accuracy[None], self.gradient])

    @classmethod
    def unpacked(cls, row: Tensor) -> "MetaGradient":
        """Return what ``packed`` made a row of."""
        return cls(row[2:], row[0], row[1])


def separately(
    objective: Objective, learner: Learner, bank: ImageBank, parts: Sequence[EpisodePlan]
) -> list[MetaGradient]:
    """Evaluate an objective on each of these plans, in this process."""
    return [evaluated(objective, learner, bank, part) for part in parts]


def meta_gradient(
    objective: Objective,
    learner: Learner,
    bank: ImageBank,
    plan: EpisodePlan,
    ranks: Ranks = ALONE,
    evaluate: Callable[[Objective, Learner, ImageBank, Sequence[EpisodePlan]], list[MetaGradient]] = separately,
) -> MetaGradient:
    """Evaluate an objective and its gradient; ranks share the episodes of an objective that is a sum over them.

    Any other is computed whole by each rank, and the first one's result taken: so ranks stay together also on devices
    that do not compute the same twice.

    Args:
        objective: divisible or not.
        learner: the meta-model, in training mode.
        bank: its images are constants.
        plan: the update's episodes.
        ranks: the processes of the run.
        evaluate: how this process evaluates a divisible objective on its share of the episodes, a plan each.
    """
    if not objective.divisible:
        return MetaGradient.unpacked(ranks.first(evaluated(objective, learner, bank, plan).packed()))
    parts = plan.episodes()
    own = evaluate(objective, learner, bank, ranks.share(parts))
    like = flat(list(learner.parameters()))
    measured = [torch.stack([part.gradient.abs().max(), part.difficulty, part.accuracy]) for part in own]
    largest, difficulty, accuracy = torch.stack(ranks.gather(measured, [3] * len(parts), like)).unbind(dim=1)
    gradient = ranks.sum([part.gradient for part in own], largest.max().item(), len(parts), like)
    return MetaGradient(gradient, difficulty.mean(), accuracy.mean())


def evaluated(objective: Objective, learner: Learner, bank: ImageBank, plan: EpisodePlan) -> MetaGradient:
    """Evaluate an objective on a plan, in this process."""
    parameters = list(learner.parameters())
    outcome = objective.outcome(learner, learner.weights(), bank, plan, second_order=learner.second_order)
    gradient = flat(gradients(outcome.loss, parameters, all_used=False))
    return MetaGradient(gradient, outcome.difficulty.to(gradient), outcome.accuracy.to(gradient))
