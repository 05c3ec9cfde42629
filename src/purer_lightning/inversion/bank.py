"""The image bank: learnable pseudo images of every class that the pool knows. This is D of the paper."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.optim import Optimizer

from purer_lightning.compute.threads import one_thread
from purer_lightning.episode import Episode, EpisodePlan, labels_in_order
from purer_lightning.errors import PurerError
from purer_lightning.inversion.memory_mapped import MappedTensor, mapped_tensor
from purer_lightning.seeding import generator

MOMENTS = ("exp_avg", "exp_avg_sq")  # Adam's names for its running means


class ImageBank:
    """Images of all classes in one tensor, of which the optimiser takes each class for a parameter of its own.

    So a step moves the classes that have a gradient, and lets the others lie: their images, Adam's moments of them and
    the number of their steps stay as they are, as though the updates between had not been.

    A plain tensor rather than an ``nn.Parameter`` of the module: as a parameter it would enter the meta-model's
    state_dict and its gradient synchronisation.

    Args:
        classes: names that identify the pool's classes, in the pool's order. The first images of a class depend on
            its name and the seed alone, so the order of classes changes nothing but the order of rows.
        images_per_class: shot + query images are needed for an episode of distinct images.
        channels: image channels.
        image_size: height and width in pixels.
        seed: the run's seed.
        folder: keep images and Adam's moments in memory-mapped files there; they have no name, and go with the process.

    Attributes:
        images: float32 unless converted, (classes, images_per_class, channels, image_size, image_size), normalised
            pixel space, first drawn N(0, 1) as in the released code; requires gradients, unless the bank is ``fixed``.
        classes: int64, (classes,): what each row is of, as a position in the pool's classes.
    """

    images: Tensor
    classes: Tensor
    folder: Path | None = None
    _mapped: Sequence[MappedTensor] = ()

    def __init__(
        self,
        classes: Sequence[str],
        images_per_class: int,
        channels: int,
        image_size: int,
        seed: int,
        folder: Path | None = None,
    ) -> None:
        shape = (images_per_class, channels, image_size, image_size)
        whole = (len(classes), *shape)
        self._mapped = [mapped_tensor(whole, folder)] if folder else []
        images = self._mapped[0].values if folder else torch.empty(whole)
        for row, name in enumerate(classes):
            torch.randn(shape, generator=generator(seed, f"bank/{name}"), out=images[row])
            self.release()
        self.images, self.classes, self.folder = images.requires_grad_(), torch.arange(len(classes)), folder

    @classmethod
    def fixed(cls, images: Tensor) -> Self:
        """Make a bank of given images, which no step is to move.

        Args:
            images: float, (classes, images_per_class, channels, height, width), normalised; kept, not copied.
        """
        bank = cls.__new__(cls)
        bank.images, bank.classes = images.detach(), torch.arange(len(images))
        return bank

    def only(self, classes: Tensor | None) -> "ImageBank":
        """Return a bank of copies of these rows, int64 ascending, that require gradients; the bank itself for None."""
        if classes is None:
            return self
        part = ImageBank.fixed(self.images.detach()[classes.to(self.images.device)])
        part.images.requires_grad_()
        part.classes = classes
        return part

    def rows(self) -> list[Tensor]:
        """Return the classes as leaves of their own, each (images_per_class, C, H, W); they share memory with images.

        Those are the parameters of the images' optimiser. Call it once, after ``to``.
        """
        self._rows = [row.requires_grad_(self.images.requires_grad) for row in self.images.detach()]
        return self._rows

    def step(self, optimizer: Optimizer, gradient: Tensor, classes: Tensor | None = None) -> None:
        """Take a step of the optimiser of ``rows`` for some classes.

        Args:
            optimizer: made of ``rows``.
            gradient: (K, images_per_class, C, H, W).
            classes: int64, (K,): the rows it is of; all for None.
        """
        moved = self._rows if classes is None else [self._rows[row] for row in classes.tolist()]
        for row, own in zip(moved, gradient, strict=True):
            row.grad = own
        with one_thread():  # for the same bits whatever their number; there is little to compute
            optimizer.step()
        for row in moved:
            row.grad = None
        self.release()

    def keep_moments(self, optimizer: Optimizer) -> None:
        """Let Adam's moments lie on disk where the images do; call it when a checkpoint's have been loaded."""
        if self.folder is None:
            return
        kept = {name: mapped_tensor(tuple(self.images.shape), self.folder) for name in MOMENTS}
        self._mapped = [*self._mapped, *kept.values()]
        for number, row in enumerate(self._rows):
            state = optimizer.state[row]
            state.setdefault("step", torch.tensor(0.0))
            for name, moments in kept.items():
                if name in state:
                    moments.values[number].copy_(state[name])
                    self.release()
                state[name] = moments.values[number]

    def release(self) -> None:
        """Give back the memory of what lies on disk; what is used next is fetched again."""
        for each in self._mapped:
            each.release()

    @property
    def counts(self) -> Tensor:
        """How many images each class has: int64, (classes,)."""
        return torch.full(self.images.shape[:1], self.images.shape[1])

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        """Move and convert the images; call it before an optimiser is made for them.

        Raises:
            PurerError: a bank on disk is to be anywhere else, or of another type.
        """
        if self.folder and (device.type, dtype) != ("cpu", self.images.dtype):
            raise PurerError(
                f"A bank on disk is float32 and in the CPU's memory, but this run wants {dtype} on {device.type}; set "
                "synthesis.on_disk to false, or trainer.accelerator to cpu and trainer.precision to 32-true."
            )
        self.images = self.images.detach().to(device, dtype).requires_grad_(self.images.requires_grad)

    def episodes(self, plan: EpisodePlan) -> list[Episode]:
        """Gather the plan's episodes; their images are differentiable with respect to ``images``."""
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


def moments_by_class(state: dict[str, Any]) -> None:
    """Rewrite, in place, an older checkpoint's state of Adam, to whom the bank was one parameter, for ``rows``."""
    whole = state["state"].get(0, {})
    if len(state["state"]) != 1 or whole["exp_avg"].dim() != 5:
        return
    count = len(whole["exp_avg"])
    state["state"] = {
        row: {"step": whole["step"].clone()} | {name: whole[name][row] for name in MOMENTS} for row in range(count)
    }
    state["param_groups"][0]["params"] = list(range(count))
