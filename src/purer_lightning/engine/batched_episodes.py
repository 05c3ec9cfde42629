"""The theta step's gradient with all episodes in one batch: for devices that a loop of small launches leaves idle.

Stands in for ``training.gradient.episode_gradients``, and for the loops of ``outer_loop`` and ``Maml.adapt``, which are
the definition; equal to rounding.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from purer_lightning.engine.grouped import Grouped, cross_entropy, head
from purer_lightning.episode import Episode, EpisodePlan
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.learners.base import Learner
from purer_lightning.learners.maml import Maml
from purer_lightning.nets import ARCHITECTURES
from purer_lightning.nets import functional as nets
from purer_lightning.nets.functional import Weights
from purer_lightning.objectives.base import Objective
from purer_lightning.training.gradient import MetaGradient


class Task(NamedTuple):
    """Images of several episodes, or of one half of them, whose rows have the same labels in each.

    Attributes:
        images: (episodes, N, C, H, W).
        labels: int64 (N,).
    """

    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, episodes: Sequence[Episode]) -> "tuple[Task, Task]":
        """Return the support sets and the query sets of episodes of one shape."""
        support, query = ([getattr(each, half) for each in episodes] for half in ("support", "query"))
        first = episodes[0]
        return cls(torch.stack(support), first.support_labels), cls(torch.stack(query), first.query_labels)


def can_be_batched(learner: object) -> bool:
    """Whether the arithmetic here is that of a learner: MAML or ANIL, from the network's own head, which forgets."""
    if not isinstance(learner, Maml) or type(learner) is not Maml or learner.outputs is not None:
        return False
    return learner.batchnorm != "running" and learner.architecture in ARCHITECTURES


class BatchedEpisodes:
    """Stands in for ``episode_gradients``: ``Episodic`` on all plans at once, for a learner that ``can_be_batched``."""

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
            halves = Task.of([episode for part in parts for episode in bank.episodes(part)])
        return [MetaGradient(*each) for each in zip(*self.gradients(learner, *halves), strict=True)]

    def gradients(self, learner: Maml, support: Task, query: Task) -> tuple[Tensor, Tensor, Tensor]:
        """Return each episode's gradient (episodes, parameters), loss and accuracy (episodes,), without graphs."""
        theta = repeated(learner, len(support.images))
        fast = self.adapted(learner, theta, support, second_order=learner.second_order)
        logits = self.logits(learner, fast, query.images)
        losses = cross_entropy(logits, query.labels)
        found = torch.autograd.grad(losses.sum(), tuple(theta.values()), allow_unused=True, materialize_grads=True)
        accuracies = (logits.argmax(dim=2) == query.labels).float().mean(dim=1).to(losses)  # in float32, as outer_loop
        return torch.cat([each.flatten(1) for each in found], dim=1), losses.detach(), accuracies

    def adapted(self, learner: Maml, theta: Weights, support: Task, *, second_order: bool) -> Weights:
        """Return the fast weights of all episodes, as ``Maml.adapt`` does those of one.

        Args:
            learner: its settings count.
            theta: each with the episodes in front, requiring gradients.
            support: the support sets.
            second_order: keep the graph of inner gradients.
        """
        grouped = self.grouped(learner.network, len(support.images))
        fast = {name: value for name, value in theta.items() if learner.adapts(name, value)}
        held = {name: value for name, value in theta.items() if name not in fast}
        features = grouped.features(theta, support.images) if learner.adapted == "head" else None
        for _ in range(learner.inner_steps if learner.training else learner.test_inner_steps):
            logits = grouped.logits(fast | held, support.images) if features is None else head(fast, features)
            loss = cross_entropy(logits, support.labels).sum()  # each episode's weights reach its own loss alone
            gradients = torch.autograd.grad(loss, tuple(fast.values()), create_graph=second_order)
            fast = {
                name: value - learner.inner_lr * gradient
                for (name, value), gradient in zip(fast.items(), gradients, strict=True)
            }
        return self.with_support_statistics(learner, fast | held, support)

    def with_support_statistics(self, learner: Maml, fast: Weights, support: Task) -> Weights:
        """In mode ``support``, add each support set's BatchNorm statistics under its own weights."""
        if learner.batchnorm != "support":
            return fast
        grouped = self.grouped(learner.network, len(support.images))
        return fast | nets.as_buffers(grouped.run(fast, support.images, statistics=True)[1])

    def logits(self, learner: Maml, fast: Weights, images: Tensor) -> Tensor:
        """Return each episode's logits (episodes, N, way), in the learner's BatchNorm mode."""
        return self.grouped(learner.network, len(images)).logits(fast, images)

    def grouped(self, network: nn.Module, count: int) -> Grouped:
        """Return a network's structure for ``count`` sets of weights; it is made once."""
        if (network, count) not in self._grouped:
            self._grouped[network, count] = Grouped(network, count)
        return self._grouped[network, count]


def repeated(learner: Maml, count: int) -> Weights:
    """Return copies of the meta-model's parameters, one for each episode in front: leaves that require gradients."""
    return {
        name: value.detach().expand(count, *value.shape).clone().requires_grad_()
        for name, value in learner.network.named_parameters()
    }
