"""Joint training: one classifier over all pseudo classes, adapted to tasks afterwards."""

import torch
from torch import Tensor
from torch.nn import functional as F

from purer_lightning.episode import EpisodePlan
from purer_lightning.errors import PurerError
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.learners.base import Learner
from purer_lightning.learners.features import of_network
from purer_lightning.nets.functional import Weights
from purer_lightning.objectives.augmentation import AugmentationSettings, augment
from purer_lightning.objectives.base import Objective, Outcome, check_outputs
from purer_lightning.seeding import generator


class Joint(Objective):
    """Domain-randomised search (Gao & Sener 2020): cross-entropy over all classes of the pool, no inner loop.

    Args:
        batch_size: images a theta step.
        augmentation: how they are varied; without mixing, since an image has one label.

    Raises:
        PurerError: an augmentation that mixes images, or a value out of its range.
    """

    def __init__(self, batch_size: int = 256, augmentation: AugmentationSettings | None = None) -> None:
        if batch_size < 1:
            raise PurerError(f"Expected model.objective.init_args.batch_size to be at least 1, but got {batch_size}.")
        self.batch_size = batch_size
        self.augmentation = augmentation or AugmentationSettings(mixup=0.0, cutmix=0.0)
        self.augmentation.check()
        if self.augmentation.mixup + self.augmentation.cutmix > 0:
            raise PurerError(
                "Joint training gives an image the label of one class, but augmentation.mixup or augmentation.cutmix "
                "is above 0 and would mix two; set both to 0."
            )

    def check(self, learner: Learner) -> None:
        """The meta-model has an output for each of the pool's classes, and shifts stay within an image."""
        self.augmentation.check_shift(self.pool.image_size)
        check_outputs(learner, len(self.pool.classes), "Joint training", "one for each class that the pool knows")

    def outcome(
        self, learner: Learner, weights: Weights, bank: ImageBank, plan: EpisodePlan, *, second_order: bool
    ) -> Outcome:
        """Classify a batch; difficulty is the mean cross-entropy, accuracy that over all classes."""
        del second_order  # there is no inner loop
        with torch.no_grad():
            images, labels = self.draw(bank, plan.update)
        logits = learner.backend.run(learner.network, of_network(weights), images).logits
        loss = F.cross_entropy(logits, labels)
        return Outcome(loss, loss.detach(), (logits.argmax(dim=1) == labels).float().mean())

    def hardness(self, learner: Learner, weights: Weights, bank: ImageBank, plan: EpisodePlan) -> Tensor:
        """Return the cross-entropy of the batch that the update's theta step is going to see."""
        images, labels = self.draw(bank, plan.update)
        logits = learner.backend.run(learner.network, of_network(weights), images).logits
        return F.cross_entropy(logits, labels)

    def draw(self, bank: ImageBank, update: int) -> tuple[Tensor, Tensor]:
        """Return augmented images (N, C, H, W) of an update, and the positions of their classes, int64 (N,)."""
        rng = generator(self.seed, "joint batch", update)
        rows = torch.randint(bank.images.shape[0] * bank.images.shape[1], (self.batch_size,), generator=rng)
        images = bank.images.flatten(0, 1)[rows.to(bank.images.device)]
        labels = bank.classes[rows // bank.images.shape[1]].to(bank.images.device)
        return augment(images, self.augmentation, rng), labels
