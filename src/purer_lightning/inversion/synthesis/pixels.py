"""PixelSynthesis: every pixel is a parameter, moved by Adam. The paper's way."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from purer_lightning.compute.threads import one_thread
from purer_lightning.errors import PurerError
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.inversion.loss import Terms
from purer_lightning.inversion.memory_mapped import MappedTensor, mapped_tensor
from purer_lightning.inversion.synthesis.base import Judge, Synthesis, SynthesisTask

MOMENTS = ("exp_avg", "exp_avg_sq")  # Adam's names for its running means


class PixelSynthesis(Synthesis):
    """Images of all classes in one tensor, of which Adam takes each class for a parameter of its own.

    So a step moves the classes that have a gradient. The images of the others, Adam's moments of them and the number of
    their steps stay as they are.
    """

    def setup(self, task: SynthesisTask) -> None:
        """Draw the first images, which depend on the names of the classes and the seed alone.

        Raises:
            PurerError: images on disk that are to be on a GPU, or of another type than float32, or no room for them.
        """
        names = [f"{known.dataset}/{known.id}" for known in task.pool.classes]
        shape = (task.images_per_class, task.pool.channels, task.pool.image_size)
        self.bank = ImageBank.drawn(names, *shape, task.seed, task.folder)
        self.bank.to(task.device, task.dtype)
        self.task = task
        self._rows = [row.requires_grad_() for row in self.bank.images.detach()]  # leaves that share the bank's memory
        self._optimizer = torch.optim.Adam(self._rows, lr=task.rate, fused=task.one_pass or None)
        self._moments: dict[str, MappedTensor] = {}
        if task.folder is not None:
            self._moments = {name: mapped_tensor(tuple(self.bank.images.shape), task.folder) for name in MOMENTS}
            self.bank.mapped += self._moments.values()
            self._keep_moments()

    def move(self, judge: Judge) -> Terms:
        """Take one step of Adam on the images of the classes that the update's teachers know."""
        terms, gradient = judge(self.bank.only(judge.classes))
        self.step(gradient, judge.classes)
        return terms

    def step(self, gradient: Tensor, classes: Tensor | None = None) -> None:
        """Take one step of Adam on the images of some classes.

        Args:
            gradient: (K, images_per_class, C, H, W).
            classes: int64, (K,): the rows it is of; all for None.
        """
        moved: Sequence[Tensor] = self._rows if classes is None else [self._rows[row] for row in classes.tolist()]
        for row, own in zip(moved, gradient, strict=True):
            row.grad = own
        with one_thread():  # for the same bits whatever their number; there is little to compute
            self._optimizer.step()
        for row in moved:
            row.grad = None
        self.bank.release()

    def state_dict(self) -> dict[str, Any]:
        """The images and Adam's state; a copy of images in memory, since those on disk may not fit there twice."""
        images = self.bank.images.detach()
        kept = images if self.bank.mapped else images.cpu().clone()
        return {"images": kept, "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put images and moments back; the learning rate stays the task's.

        Raises:
            PurerError: images of another shape: another pool, or other images_per_class.
        """
        images, saved = self.bank.images, state["images"]
        if saved.shape != images.shape:
            raise PurerError(
                f"The checkpoint's image bank has shape {tuple(saved.shape)}, but this pool and images_per_class make "
                f"one of {tuple(images.shape)}; resume with the settings of the checkpoint's run."
            )
        with torch.no_grad():
            images.copy_(saved)
        self._optimizer.load_state_dict(state["optimizer"])
        for group in self._optimizer.param_groups:
            group.update(lr=self.task.rate, fused=self.task.one_pass or None)
        self._keep_moments()

    def _keep_moments(self) -> None:
        """Keep Adam's moments, where there are any, in the files on disk."""
        for number, row in enumerate(self._rows if self._moments else ()):
            state = self._optimizer.state[row]
            state.setdefault("step", torch.tensor(0.0))
            for name, moments in self._moments.items():
                if name in state:
                    moments.values[number].copy_(state[name])
                    self.bank.release()
                state[name] = moments.values[number]
