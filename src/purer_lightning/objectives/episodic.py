"""Few-shot episodes: the outer loss of PURER, L_outer(theta - a * grad L_inner(theta; S); Q)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from purer_lightning.compute.precision import full_precision
from purer_lightning.episode import Episode, EpisodePlan
from purer_lightning.errors import PurerError
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.learners.base import Learner
from purer_lightning.nets.functional import Weights
from purer_lightning.objectives.base import Objective, Outcome


class Episodic(Objective):
    """The cross-entropy on query images after adaptation to the support set, summed over the update's episodes."""

    divisible = True

    def check(self, learner: Learner) -> None:
        """Refuse a learner whose BatchNorm remembers statistics: pseudo episodes do not keep them up to date."""
        if learner.batchnorm == "running":
            raise PurerError(
                "Expected the learner's batchnorm to be 'transductive' or 'support' in episodic training, but got "
                "'running': a meta-model then keeps no running statistics; change "
                "model.learner.init_args.batchnorm."
            )

    def outcome(
        self, learner: Learner, weights: Weights, bank: ImageBank, plan: EpisodePlan, *, second_order: bool
    ) -> Outcome:
        """Play the plan's episodes; difficulty is their mean outer loss, accuracy that on the query images."""
        with torch.no_grad():  # the images are constants here
            episodes = bank.episodes(plan)
        return outer_loop(learner, weights, episodes, second_order=second_order)

    def hardness(self, learner: Learner, weights: Weights, bank: ImageBank, plan: EpisodePlan) -> Tensor:
        """Return the outer loss of the plan's episode; the gradient goes through support and query images."""
        return outer_loop(learner, weights, bank.episodes(plan), second_order=True).loss


def outer_loop(learner: Learner, weights: Weights, episodes: list[Episode], *, second_order: bool) -> Outcome:
    """Adapt to each episode's support set and sum the query losses."""
    losses, accuracies = [], []
    for episode in episodes:
        with full_precision(episode.support):
            fast = learner.adapt(weights, episode.support, episode.support_labels, second_order=second_order)
        logits = learner.logits(episode.query, fast)
        losses.append(F.cross_entropy(logits, episode.query_labels))
        accuracies.append((logits.argmax(dim=1) == episode.query_labels).float().mean())
    loss = torch.stack(losses).sum()
    return Outcome(loss, loss.detach() / len(episodes), torch.stack(accuracies).mean())
