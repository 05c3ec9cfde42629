"""The theta step's gradient with all episodes in one batch: for devices that a loop of small launches leaves idle.

Stands in for ``objectives.gradient.separately``, and for the loops of ``outer_loop`` and ``Maml.adapt`` that are its
definition; equal to rounding.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from purer_lightning.engine.grouped import GROUPABLE, Grouped, cross_entropy, head
from purer_lightning.episode import EpisodePlan
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.learners.base import Learner
from purer_lightning.learners.maml import Maml
from purer_lightning.nets import functional as nets
from purer_lightning.nets.functional import Weights
from purer_lightning.objectives.base import Objective
from purer_lightning.objectives.episodic import Episodic
from purer_lightning.objectives.gradient import MetaGradient


class Task(NamedTuple):
    """Images of several episodes, or of one half of them, whose rows have the same labels in each.

    Attributes:
        images: (episodes, N, C, H, W).
        labels: int64 (N,).
    """

    images: Tensor
    labels: Tensor


def can_be_batched(objective: Objective, learner: Learner) -> bool:
    """Whether the arithmetic here is that of these two: episodes, and MAML or ANIL from the network's own head."""
    own_head = learner.outputs is None
    return type(objective) is Episodic and type(learner) is Maml and type(learner.network) in GROUPABLE and own_head


class BatchedEpisodes:
    """Evaluates an objective and its gradient on all plans at once, for what ``can_be_batched``."""

    def __init__(self) -> None:
        self._grouped: dict[tuple[nn.Module, int], Grouped] = {}

    def __call__(
        self, objective: Objective, learner: Learner, bank: ImageBank, parts: Sequence[EpisodePlan]
    ) -> list[MetaGradient]:
        """Return for each plan of one episode what ``evaluated`` does."""
        del objective  # is Episodic
        assert isinstance(learner, Maml)
        if not parts:
            return []
        with torch.no_grad():  # the images are constants here
            episodes = [episode for part in parts for episode in bank.episodes(part)]
        support = Task(torch.stack([each.support for each in episodes]), episodes[0].support_labels)
        query = Task(torch.stack([each.query for each in episodes]), episodes[0].query_labels)
        return [MetaGradient(*each) for each in zip(*self.gradients(learner, support, query), strict=True)]

    def gradients(self, learner: Maml, support: Task, query: Task) -> tuple[Tensor, Tensor, Tensor]:
        """Return each episode's gradient (episodes, parameters), loss and accuracy (episodes,), without graphs."""
        count = len(support.images)
        theta = {
            name: value.detach().expand(count, *value.shape).clone().requires_grad_()
            for name, value in learner.network.named_parameters()
        }
        fast = self.adapted(learner, theta, support)
        logits = self._of(learner.caller(fast), count).logits(fast, query.images)
        losses = cross_entropy(logits, query.labels)
        found = torch.autograd.grad(losses.sum(), tuple(theta.values()), allow_unused=True, materialize_grads=True)
        accuracies = (logits.argmax(dim=2) == query.labels).float().mean(dim=1).to(losses)  # in float32, as outer_loop
        return torch.cat([each.flatten(1) for each in found], dim=1), losses.detach(), accuracies

    def adapted(self, learner: Maml, theta: Weights, support: Task) -> Weights:
        """Return the fast weights of all episodes, as ``Maml.adapt`` does those of one.

        Args:
            learner: its settings count.
            theta: each with the episodes in front.
            support: the support sets.
        """
        grouped = self._of(learner.network, len(support.images))
        fast = {name: value for name, value in theta.items() if learner.adapts(name, value)}
        held = {name: value for name, value in theta.items() if name not in fast}
        features = grouped.features(theta, support.images) if learner.adapted == "head" else None
        for _ in range(learner.inner_steps if learner.training else learner.test_inner_steps):
            logits = grouped.logits(fast | held, support.images) if features is None else head(fast, features)
            loss = cross_entropy(logits, support.labels).sum()  # each episode's weights reach its own loss alone
            gradients = torch.autograd.grad(loss, tuple(fast.values()), create_graph=learner.second_order)
            fast = {
                name: value - learner.inner_lr * gradient
                for (name, value), gradient in zip(fast.items(), gradients, strict=True)
            }
        if learner.batchnorm != "support":
            return fast | held
        with grouped.statistics() as statistics:
            grouped.features(fast | held, support.images)
        return fast | held | nets.as_buffers(statistics)

    def _of(self, network: nn.Module, count: int) -> Grouped:
        if (network, count) not in self._grouped:
            self._grouped[network, count] = Grouped(network, count)
        return self._grouped[network, count]
