"""Dead leaves: procedural images of overlapping shapes, which share the statistics of natural edges and surfaces.

The model is that of Lee, Mumford & Huang (2001): shapes of power-law size fall on one another. Baradad et al. (2021)
learn from such images without any photograph. Colours, textures and proportions here are our own choice.
"""

import math

import torch
from torch import Tensor

SHAPES = 40  # an image; enough that none of the ground is left to see in most


def dead_leaves(count: int, channels: int, size: int, rng: torch.Generator) -> Tensor:
    """Draw images (count, channels, size, size), float32, of mean 0 and variance about 1.3 at each pixel.

    Args:
        count: images.
        channels: image channels.
        size: height and width in pixels.
        rng: the source of the draw.
    """
    images = _surface(count, channels, size, rng)
    for _ in range(SHAPES):
        cover = _shape(count, size, rng)
        images = images * (1 - cover) + cover * _surface(count, channels, size, rng)
    return images


def _surface(count: int, channels: int, size: int, rng: torch.Generator) -> Tensor:
    """A colour with a wave on it: brightness varies more than hue, as in photographs.

    Variances: brightness 1, hue 1/4, the wave 0.8^2 / 5 / 2 = 0.06.
    """
    brightness = torch.randn(count, 1, 1, 1, generator=rng)
    hue = 0.5 * torch.randn(count, channels, 1, 1, generator=rng)
    strength = 0.8 * torch.rand(count, 1, 1, 1, generator=rng).square()
    waves = 26 / size * torch.randn(2, count, 1, 1, 1, generator=rng)  # radians a pixel: about five periods an image
    phase = 2 * math.pi * torch.rand(count, 1, 1, 1, generator=rng)
    pixels = torch.arange(size) + 0.5
    return brightness + hue + strength * torch.sin(waves[0] * pixels[:, None] + waves[1] * pixels + phase)


def _shape(count: int, size: int, rng: torch.Generator) -> Tensor:
    """Where one ellipse or rectangle an image covers what is below, (count, 1, size, size), 0 to 1, edges soft."""
    # A uniform number's inverse has density 1 / r^2; its bounds make radii between 1/20 and 4/5 of the image.
    radius = size / 20 / torch.rand(count, 1, 1, generator=rng).clamp_min(1 / 16)
    centre = size * torch.rand(2, count, 1, 1, generator=rng)
    angle = math.pi * torch.rand(count, 1, 1, generator=rng)
    aspect = torch.exp(0.5 * torch.randn(count, 1, 1, generator=rng))
    round_one = torch.rand(count, 1, 1, generator=rng) < 0.5
    pixels = torch.arange(size) + 0.5
    down, right = pixels[:, None] - centre[0], pixels - centre[1]
    along = (down * angle.cos() + right * angle.sin()) * aspect
    across = (right * angle.cos() - down * angle.sin()) / aspect
    distance = torch.where(round_one, (along**2 + across**2).sqrt(), torch.maximum(along.abs(), across.abs()))
    return (radius - distance + 0.5).clamp(0, 1)[:, None]
