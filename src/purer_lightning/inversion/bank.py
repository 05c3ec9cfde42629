"""The image bank: pseudo images of every class that the pool knows, from which episodes are drawn. D of the paper."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from purer_lightning.episode import Episode, EpisodePlan, labels_in_order
from purer_lightning.errors import PurerError
from purer_lightning.inversion.memory_mapped import MappedTensor, mapped_tensor
from purer_lightning.seeding import generator


class ImageBank:
    """Images of all classes, or of some, in one tensor, and the episodes that a plan draws from them.

    A plain tensor rather than an ``nn.Parameter`` of the module: as a parameter it would enter the meta-model's
    state_dict and its gradient synchronisation. Who moves the images is a ``Synthesis``.

    Args:
        images: float, (K, images_per_class, C, H, W), normalised pixel space; kept, not copied.
        classes: int64, (K,), ascending: which of the pool's classes each row is of; row k is of class k for None.
        mapped: the files that the images lie in, where they lie on disk.
    """

    def __init__(self, images: Tensor, classes: Tensor | None = None, mapped: Sequence[MappedTensor] = ()) -> None:
        self.images = images
        self.classes = torch.arange(len(images)) if classes is None else classes
        self.mapped = list(mapped)

    @classmethod
    def drawn(
        cls,
        classes: Sequence[str],
        images_per_class: int,
        channels: int,
        image_size: int,
        seed: int,
        folder: Path | None = None,
    ) -> "ImageBank":
        """Draw the first images, N(0, 1) as in the released code; float32 leaves that require gradients.

        Args:
            classes: names that identify the pool's classes, in the pool's order. The first images of a class depend on
                its name and the seed alone, so the order of classes changes nothing but the order of rows.
            images_per_class: shot + query images are needed for an episode of distinct images.
            channels: image channels.
            image_size: height and width in pixels.
            seed: the run's seed.
            folder: keep the images in a memory-mapped file there; it has no name, and goes with the process.
        """
        shape = (images_per_class, channels, image_size, image_size)
        mapped = [mapped_tensor((len(classes), *shape), folder)] if folder else []
        images = mapped[0].values if mapped else torch.empty(len(classes), *shape)
        bank = cls(images, mapped=mapped)
        for row, name in enumerate(classes):
            torch.randn(shape, generator=generator(seed, f"bank/{name}"), out=images[row])
            bank.release()
        images.requires_grad_()
        return bank

    def only(self, classes: Tensor | None) -> "ImageBank":
        """Return a bank of copies of these rows, int64 ascending, that require gradients; the bank itself for None."""
        if classes is None:
            return self
        return ImageBank(self.images.detach()[classes.to(self.images.device)].requires_grad_(), classes)

    def release(self) -> None:
        """Release the memory of what is kept on disk; it is read again when it is needed."""
        for each in self.mapped:
            each.release()

    @property
    def counts(self) -> Tensor:
        """How many images each class has: int64, (K,)."""
        return torch.full(self.images.shape[:1], self.images.shape[1])

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        """Move and convert the images; call it before an optimiser is made for them.

        Raises:
            PurerError: a bank on disk is to be anywhere else, or of another type.
        """
        if self.mapped and (device.type, dtype) != ("cpu", self.images.dtype):
            raise PurerError(
                f"A bank on disk is float32 and in the CPU's memory, but this run wants {dtype} on {device.type}; set "
                "synthesis.on_disk to false, or trainer.accelerator to cpu and trainer.precision to 32-true."
            )
        self.images = self.images.detach().to(device, dtype).requires_grad_(self.images.requires_grad)

    def episodes(self, plan: EpisodePlan) -> list[Episode]:
        """Gather the plan's episodes; their images are differentiable with respect to ``images``.

        The plan's classes are rows of this bank.
        """
        self.release()
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
