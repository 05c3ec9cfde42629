"""Between pictures (uint8) and normalised pixel space, in which teachers, bank and meta-model live."""

from typing import NamedTuple

import torch
from torch import Tensor


class Normalisation(NamedTuple):
    """Channel means and standard deviations of a data set's meta-train images, of images scaled to [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, images: Tensor) -> Tensor:
        """Normalise pictures.

        Args:
            images: uint8, (..., C, H, W), values 0 to 255.

        Returns:
            float32 of the same shape: ``(images / 255 - mean) / std``.
        """
        return self.apply_to_unit(images.float() / 255)

    def apply_to_unit(self, images: Tensor) -> Tensor:
        """Normalise float images (..., C, H, W) that are scaled to [0, 1] already."""
        return (images - self._column(self.mean, images)) / self._column(self.std, images)

    def undo(self, images: Tensor) -> Tensor:
        """Turn normalised images (..., C, H, W) back into uint8 pictures; what lies outside 0 to 255 is clipped."""
        unit = images.float() * self._column(self.std, images) + self._column(self.mean, images)
        return (unit * 255).round().clamp(0, 255).to(torch.uint8)

    def plain(self) -> dict[str, list[float]]:
        """Return it as plain types."""
        return {name: list(values) for name, values in self._asdict().items()}

    @staticmethod
    def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, device=like.device).view(-1, 1, 1)
