"""Noise whose amplitude falls with its frequency, as that of photographs does (Field, 1987)."""

import torch
from torch import Tensor

from purer_lightning.objectives import ImageSource


class ColouredNoise(ImageSource):
    """Draws noise of amplitude ``frequency ** -slope``: 0 is white, 1 about that of photographs."""

    def __init__(self, slope: float = 1.0) -> None:
        self.slope = slope

    def draw(self, count: int, channels: int, size: int, rng: torch.Generator) -> Tensor:
        """Filter white noise, image by image, and scale it to variance 1."""
        white = torch.randn(count, channels, size, size, generator=rng)
        down, right = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)
        frequency = (down.square() + right.square()).sqrt().clamp_min(1 / size)
        images: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * frequency**-self.slope, s=(size, size))
        return images / images.std(dim=(1, 2, 3), keepdim=True)
