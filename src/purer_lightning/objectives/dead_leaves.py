"""Dead leaves: procedural images of overlapping shapes, which share the statistics of natural edges and surfaces.

The model is that of Lee, Mumford & Huang (2001): shapes of power-law size fall on one another. Baradad et al. (2021)
learn from such images without any photograph. Colours, textures and proportions here are our own choice.
"""

import math
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from purer_lightning.objectives.image_source import ImageSource

SHAPES = 40  # an image; enough that none of the ground is left to see in most
CHUNK = 64  # images painted at once: they stay in a core's cache, and thousands would not


class Surface(NamedTuple):
    """Of a colour with a wave on it; each has images in its first dimension, and broadcasts to (N, C, H, W).

    Attributes:
        colour: (N, C, 1, 1).
        strength: of the wave.
        down: radians a pixel.
        right: radians a pixel.
        phase: radians.
    """

    colour: Tensor
    strength: Tensor
    down: Tensor
    right: Tensor
    phase: Tensor


class Shape(NamedTuple):
    """Of an ellipse or a rectangle; each is (N, 1, 1), lengths in pixels.

    Attributes:
        radius: half its size.
        down: its centre.
        right: its centre.
        angle: radians.
        aspect: its axes are longer and shorter than the radius by this factor.
        round_one: whether it is an ellipse.
    """

    radius: Tensor
    down: Tensor
    right: Tensor
    angle: Tensor
    aspect: Tensor
    round_one: Tensor


Drawn = TypeVar("Drawn", Surface, Shape)


class DeadLeaves(ImageSource):
    """Images that ``dead_leaves`` draws."""

    def draw(self, count: int, channels: int, size: int, rng: torch.Generator) -> Tensor:
        """Return ``dead_leaves`` of these arguments."""
        return dead_leaves(count, channels, size, rng)


def dead_leaves(count: int, channels: int, size: int, rng: torch.Generator) -> Tensor:
    """Draw images (count, channels, size, size), float32, of mean 0 and variance about 1.3 at each pixel.

    Args:
        count: images.
        channels: image channels.
        size: height and width in pixels.
        rng: the source of the draw.
    """
    ground = draw_surface(count, channels, size, rng)
    leaves = [(draw_shape(count, size, rng), draw_surface(count, channels, size, rng)) for _ in range(SHAPES)]
    chunks = [slice(start, start + CHUNK) for start in range(0, count, CHUNK)]
    images = [
        painted(part(ground, rows), [(part(shape, rows), part(surface, rows)) for shape, surface in leaves], size)
        for rows in chunks
    ]
    return torch.cat(images) if images else torch.empty(0, channels, size, size)


def part(drawn: Drawn, rows: slice) -> Drawn:
    """Return what belongs to some of the images."""
    return type(drawn)(*(tensor[rows] for tensor in drawn))


def painted(ground: Surface, leaves: list[tuple[Shape, Surface]], size: int) -> Tensor:
    """Return images (N, C, size, size): each leaf covers those before it."""
    images = paint(ground, size)
    for shape, surface in leaves:
        covered = cover(shape, size)
        images = images * (1 - covered) + covered * paint(surface, size)
    return images


def draw_surface(count: int, channels: int, size: int, rng: torch.Generator) -> Surface:
    """Draw a surface for each image: brightness varies more than hue, as in photographs.

    Variances: brightness 1, hue 1/4, the wave 0.8^2 / 5 / 2 = 0.06.
    """
    brightness = torch.randn(count, 1, 1, 1, generator=rng)
    hue = 0.5 * torch.randn(count, channels, 1, 1, generator=rng)
    strength = 0.8 * torch.rand(count, 1, 1, 1, generator=rng).square()
    down, right = 26 / size * torch.randn(2, count, 1, 1, 1, generator=rng)  # about five periods an image
    phase = 2 * math.pi * torch.rand(count, 1, 1, 1, generator=rng)
    return Surface(brightness + hue, strength, down, right, phase)


def paint(surface: Surface, size: int) -> Tensor:
    """Return a surface's pixels, (N, C, size, size)."""
    pixels = torch.arange(size) + 0.5
    return surface.colour + surface.strength * torch.sin(
        surface.down * pixels[:, None] + surface.right * pixels + surface.phase
    )


def draw_shape(count: int, size: int, rng: torch.Generator) -> Shape:
    """Draw a shape for each image."""
    # A uniform number's inverse has density 1 / r^2; its bounds make radii between 1/20 and 4/5 of the image.
    radius = size / 20 / torch.rand(count, 1, 1, generator=rng).clamp_min(1 / 16)
    down, right = size * torch.rand(2, count, 1, 1, generator=rng)
    angle = math.pi * torch.rand(count, 1, 1, generator=rng)
    aspect = torch.exp(0.5 * torch.randn(count, 1, 1, generator=rng))
    return Shape(radius, down, right, angle, aspect, torch.rand(count, 1, 1, generator=rng) < 0.5)


def cover(shape: Shape, size: int) -> Tensor:
    """Return where a shape covers what is below, (N, 1, size, size), 0 to 1, edges soft."""
    pixels = torch.arange(size) + 0.5
    down, right = pixels[:, None] - shape.down, pixels - shape.right
    along = (down * shape.angle.cos() + right * shape.angle.sin()) * shape.aspect
    across = (right * shape.angle.cos() - down * shape.angle.sin()) / shape.aspect
    distance = torch.where(shape.round_one, (along**2 + across**2).sqrt(), torch.maximum(along.abs(), across.abs()))
    return (shape.radius - distance + 0.5).clamp(0, 1)[:, None]
