"""ImageSource: images that no teacher was asked for, to learn from beside those of the bank."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class ImageSource(ABC):
    """Draws images by a rule: procedural ones, noise, whatever needs neither a teacher nor a photograph.

    An objective that takes one names it by its class path: ``model.objective.init_args.source`` of ``Distillation``.
    """

    @abstractmethod
    def draw(self, count: int, channels: int, size: int, rng: torch.Generator) -> Tensor:
        """Draw images.

        Args:
            count: how many; 0 gives none.
            channels: image channels, 1 or 3.
            size: height and width in pixels.
            rng: the only source of the draw, on the CPU: the same generator gives the same images.

        Returns:
            (count, channels, size, size), float32 on the CPU, normalised pixel space: mean about 0, variance about 1.
        """
