"""Episodes in which query images that are still labelled wrong count for more (focal loss, Lin et al., ICCV 2017)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from purer_lightning.episode import Episode, EpisodePlan
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.learners import Learner
from purer_lightning.nets.functional import Weights
from purer_lightning.objectives import Objective, Outcome


class Focal(Objective):
    """Minimises ``-(1 - p)^focus log p``, p the probability of a query image's own class.

    Args:
        focus: 0 is cross-entropy; 2 in the paper.
    """

    divisible = True  # a sum over episodes: ranks and threads share them

    def __init__(self, focus: float = 2.0) -> None:
        self.focus = focus

    def check(self, learner: Learner) -> None:
        """Accept every learner."""

    def outcome(
        self, learner: Learner, weights: Weights, bank: ImageBank, plan: EpisodePlan, *, second_order: bool
    ) -> Outcome:
        """Play the update's episodes."""
        with torch.no_grad():  # the images are constants here
            episodes = bank.episodes(plan)
        losses, accuracies = zip(*(self.play(learner, weights, each, second_order) for each in episodes), strict=True)
        loss = torch.stack(losses).sum()
        return Outcome(loss, loss.detach() / len(episodes), torch.stack(accuracies).mean())

    def hardness(self, learner: Learner, weights: Weights, bank: ImageBank, plan: EpisodePlan) -> Tensor:
        """Return the loss of one fresh episode; the curriculum makes images harder along its gradient."""
        (episode,) = bank.episodes(plan)
        return self.play(learner, weights, episode, second_order=True)[0]

    def play(self, learner: Learner, weights: Weights, episode: Episode, second_order: bool) -> tuple[Tensor, Tensor]:
        """Adapt to the support set; return loss and accuracy on the query images, scalars."""
        fast = learner.adapt(weights, episode.support, episode.support_labels, second_order=second_order)
        logits = learner.logits(episode.query, fast)
        log_p = F.log_softmax(logits, dim=1).gather(1, episode.query_labels[:, None])
        loss = -((1 - log_p.exp()) ** self.focus * log_p).mean()
        return loss, (logits.argmax(dim=1) == episode.query_labels).float().mean()
