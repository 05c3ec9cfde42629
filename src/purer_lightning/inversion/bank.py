"""The image bank: learnable pseudo images of every class that the pool knows. This is D of the paper."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from purer_lightning.episode import Episode, EpisodePlan, labels_in_order
from purer_lightning.seeding import generator


class ImageBank:
    """Images of all classes in one tensor, so that one optimiser step moves them all.

    A plain tensor rather than an ``nn.Parameter`` of the module: as a parameter it would enter the meta-model's
    state_dict and its gradient synchronisation.

    Args:
        classes: names that identify the pool's classes, in the pool's order. The first images of a class depend on
            its name and the seed alone, so the order of classes changes nothing but the order of rows.
        images_per_class: shot + query images are needed for an episode of distinct images.
        channels: image channels.
        image_size: height and width in pixels.
        seed: the run's seed.

    Attributes:
        images: float32 unless converted, (classes, images_per_class, channels, image_size, image_size), normalised
            pixel space, first drawn N(0, 1) as in the released code; requires gradients, unless the bank is ``fixed``.
    """

    images: Tensor

    def __init__(
        self, classes: Sequence[str], images_per_class: int, channels: int, image_size: int, seed: int
    ) -> None:
        shape = (images_per_class, channels, image_size, image_size)
        drawn = [torch.randn(shape, generator=generator(seed, f"bank/{name}")) for name in classes]
        self.images = torch.stack(drawn).requires_grad_()

    @classmethod
    def fixed(cls, images: Tensor) -> Self:
        """Make a bank of given images, which no step is to move.

        Args:
            images: float, (classes, images_per_class, channels, height, width), normalised; kept, not copied.
        """
        bank = cls.__new__(cls)
        bank.images = images.detach()
        return bank

    @property
    def counts(self) -> Tensor:
        """How many images each class has: int64, (classes,)."""
        return torch.full(self.images.shape[:1], self.images.shape[1])

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        """Move and convert the images; call it before an optimiser is made for them."""
        self.images = self.images.detach().to(device, dtype).requires_grad_(self.images.requires_grad)

    def episodes(self, plan: EpisodePlan) -> list[Episode]:
        """Gather the plan's episodes; their images are differentiable with respect to ``images``."""
        way, per_class = plan.slots.shape[1:]
        device = self.images.device
        support_labels = labels_in_order(way, plan.shot).to(device)
        query_labels = labels_in_order(way, per_class - plan.shot).to(device)
        episodes = []
        for number, (classes, slots) in enumerate(zip(plan.classes, plan.slots, strict=True)):
            chosen = self.images[classes[:, None].to(device), slots.to(device)]
            support = chosen[:, : plan.shot].flatten(0, 1)
            query = chosen[:, plan.shot :].flatten(0, 1)
            episodes.append(Episode(support, support_labels, query, query_labels, number))
        return episodes
