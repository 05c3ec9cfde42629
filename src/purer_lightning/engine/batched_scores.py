"""Test episodes scored in one batch, with ICFIL: for devices that a loop of small launches leaves idle.

Stands in for ``evaluation.scoring.score_episodes``, and for ``calibrate``, which are the definition; equal to rounding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import vmap

from purer_lightning.engine.batched_episodes import BatchedEpisodes, Task, repeated
from purer_lightning.engine.batched_teachers import inversion_terms
from purer_lightning.engine.grouped import Grouped, cross_entropy, head
from purer_lightning.episode import Episode
from purer_lightning.evaluation.icfil import CalibrationSettings, contrastive_loss
from purer_lightning.evaluation.metrics import ICFIL, PLAIN
from purer_lightning.learners.base import Learner
from purer_lightning.learners.maml import Maml
from purer_lightning.nets.functional import Weights
from purer_lightning.seeding import generator


class BatchedScores:
    """Stands in for ``score_episodes``: adapts to all episodes of a batch at once; no episode sees another."""

    def __init__(self) -> None:
        self._episodes = BatchedEpisodes()

    def __call__(
        self, learner: Learner, episodes: Sequence[Episode], calibration: CalibrationSettings | None, seed: int
    ) -> list[dict[str, Tensor]]:
        """Return each episode's accuracies by method, as ``score_episodes`` does.

        Needs gradients enabled. NaN where a logit is not finite, as in ``episode_accuracy``.
        """
        assert isinstance(learner, Maml)
        support, query = Task.of(episodes)
        theta = repeated(learner, len(episodes))
        fast = {PLAIN: self._episodes.adapted(learner, theta, support, second_order=False)}
        if calibration:
            ids = [episode.id for episode in episodes]
            fast[ICFIL] = self._calibrated(learner, calibration, fast[PLAIN], support, ids, seed)
        with torch.no_grad():
            by_method = {
                method: accuracies(self._episodes.logits(learner, own, query.images), query.labels).unbind()
                for method, own in fast.items()
            }
        return [dict(zip(by_method, row, strict=True)) for row in zip(*by_method.values(), strict=True)]

    def _calibrated(
        self,
        learner: Maml,
        settings: CalibrationSettings,
        fast: Weights,
        support: Task,
        ids: Sequence[int],
        seed: int,
    ) -> Weights:
        grouped, way = self._episodes.grouped(learner.network, len(ids)), learner.way
        own = {name: fast[name].detach().requires_grad_() for name, _ in learner.network.named_parameters()}
        drawn = [
            torch.randn(
                way * settings.images_per_class,
                *support.images.shape[2:],
                generator=generator(seed, "icfil", task),
            )
            for task in ids
        ]
        labels = torch.arange(way, device=support.labels.device).repeat_interleave(settings.images_per_class)
        pseudo = inverted(grouped, own, support, Task(torch.stack(drawn).to(support.images), labels), settings)
        for _ in range(settings.steps):
            loss = calibration_loss(grouped, own, support, pseudo, settings).sum()
            gradients = torch.autograd.grad(loss, tuple(own.values()))
            own = {
                name: (value - settings.lr * gradient).detach().requires_grad_()
                for (name, value), gradient in zip(own.items(), gradients, strict=True)
            }
        return self._episodes.with_support_statistics(learner, own, support)


def inverted(grouped: Grouped, fast: Weights, support: Task, start: Task, settings: CalibrationSettings) -> Task:
    """Invert each adapted model into pseudo support images, from those of ``start``, as ``invert_adapted`` does one."""
    frozen = {name: value.detach() for name, value in fast.items()}
    with torch.no_grad():
        wanted = grouped.run(frozen, support.images, statistics=True)[1]
    images = start.images.requires_grad_()
    optimizer = torch.optim.Adam([images], lr=settings.inversion_lr)  # each pixel by itself, so each episode too
    priors = settings.priors.priors()
    for _ in range(settings.inversion_steps):
        terms = inversion_terms(grouped, frozen, images, start.labels, wanted, priors)
        (images.grad,) = torch.autograd.grad(terms["total"].sum(), images)
        optimizer.step()
    return Task(images.detach(), start.labels)


def calibration_loss(
    grouped: Grouped, own: Weights, support: Task, pseudo: Task, settings: CalibrationSettings
) -> Tensor:
    """Return each episode's contrastive loss with the weighed cross-entropy of the head, (episodes,)."""
    real, inverse = grouped.features(own, support.images), grouped.features(own, pseudo.images)
    class_means = inverse.reshape(len(inverse), -1, settings.images_per_class, inverse.shape[2]).mean(dim=2)
    contrast: Tensor = vmap(contrastive_loss, in_dims=(0, None, 0, None))(
        real, support.labels, class_means, settings.temperature
    )
    logits = head(own, torch.cat([real, inverse], dim=1))
    return contrast + settings.head_weight * cross_entropy(logits, torch.cat([support.labels, pseudo.labels]))


def accuracies(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each episode's fraction of right labels (episodes,), as ``episode_accuracy`` does one's."""
    right = (logits.argmax(dim=2) == labels).float().mean(dim=1)
    return torch.where(logits.isfinite().all(dim=2).all(dim=1), right, torch.nan)
