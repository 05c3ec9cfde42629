"""The theta step's gradient: the episodes over all ranks and threads (PURER's outer loop).

One episode after the other, or as many at once as there are threads: only so many episodes' graphs are alive at a time.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from purer_lightning.compute.precision import gradients
from purer_lightning.compute.ranks import ALONE, Ranks, flat
from purer_lightning.compute.threads import one_thread
from purer_lightning.episode import EpisodePlan
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.learners.base import Learner
from purer_lightning.objectives.base import Objective


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


def meta_gradient(
    objective: Objective,
    learner: Learner,
    bank: ImageBank,
    plan: EpisodePlan,
    ranks: Ranks = ALONE,
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
    """
    if not objective.divisible:
        return MetaGradient.unpacked(ranks.first(evaluated(objective, learner, bank, plan).packed()))
    parts = plan.episodes()
    own = learner.backend.fast(episode_gradients)(objective, learner, bank, ranks.share(parts))
    with one_thread():
        like = flat(list(learner.parameters()))
        measured = [torch.stack([part.gradient.abs().max(), part.difficulty, part.accuracy]) for part in own]
        largest, difficulty, accuracy = torch.stack(ranks.gather(measured, [3] * len(parts), like)).unbind(dim=1)
        gradient = ranks.sum([part.gradient for part in own], largest.max().item(), len(parts), like)
    return MetaGradient(gradient, difficulty.mean(), accuracy.mean())


def episode_gradients(
    objective: Objective, learner: Learner, bank: ImageBank, parts: Sequence[EpisodePlan]
) -> list[MetaGradient]:
    """Evaluate an objective on each of these plans, in this process: as many at once as there are threads."""
    work = partial(evaluated, objective, learner, bank)
    return list(learner.backend.map(work, parts, bank.images))


def evaluated(objective: Objective, learner: Learner, bank: ImageBank, plan: EpisodePlan) -> MetaGradient:
    """Evaluate an objective on a plan, in this process."""
    parameters = list(learner.parameters())
    outcome = objective.outcome(learner, learner.weights(), bank, plan, second_order=learner.second_order)
    gradient = flat(gradients(outcome.loss, parameters, all_used=False))
    return MetaGradient(gradient, outcome.difficulty.to(gradient), outcome.accuracy.to(gradient))


def adversarial_gradient(objective: Objective, learner: Learner, bank: ImageBank, plan: EpisodePlan) -> Tensor:
    """Return the gradient of an objective's hardness with respect to ``bank.images``, of their shape.

    From copies of theta: what makes images harder must leave no trace on it. One episode of a divisible objective is
    computed on one thread, as those of the theta step are.
    """
    copies = {name: value.clone() for name, value in learner.frozen_weights().items()}
    with one_thread() if objective.divisible else nullcontext():
        return gradients(objective.hardness(learner, copies, bank, plan), [bank.images])[0]
