"""Random views and mixtures of pseudo images: pure functions, differentiable with respect to the images."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from purer_lightning.errors import PurerError


@dataclass
class AugmentationSettings:
    """How a batch is varied. Our own choice; mixing made no difference on meta-val: experiments/distillation_sweep.md.

    Attributes:
        flip: probability of a horizontal flip.
        shift: largest shift in pixels, in each direction; what is moved in is the mirror image.
        mixup: probability that an image is blended with another one, in a uniform proportion (Zhang et al. 2018).
        cutmix: probability that a rectangle of it is another image's, of uniform area (Yun et al. 2019).
    """

    flip: float = 0.5
    shift: int = 4
    mixup: float = 0.5
    cutmix: float = 0.5

    def check(self) -> None:
        """Raise PurerError for a value out of its range."""
        for name in ("flip", "mixup", "cutmix"):
            if not 0 <= getattr(self, name) <= 1:
                raise PurerError(
                    f"Expected augmentation.{name}, a probability, to be within 0 and 1, but got {getattr(self, name)}."
                )
        if self.mixup + self.cutmix > 1:
            raise PurerError(
                f"An image is blended, cut or left alone, so augmentation.mixup + augmentation.cutmix must be at most "
                f"1, but got {self.mixup} + {self.cutmix}; lower one of them."
            )
        if self.shift < 0:
            raise PurerError(f"Expected augmentation.shift to be at least 0 pixels, but got {self.shift}.")

    def check_shift(self, image_size: int) -> None:
        """Raise PurerError for a shift that an image of this height and width has no mirror image for."""
        if self.shift >= image_size:
            raise PurerError(
                f"Expected augmentation.shift to be below the images' {image_size} pixels, but got {self.shift}; "
                "lower it."
            )


def augment(images: Tensor, settings: AugmentationSettings, rng: torch.Generator) -> Tensor:
    """Return one random view of each image, (N, C, H, W), mixed with one other image of the batch.

    Args:
        images: (N, C, H, W), normalised pixel space, H and W above ``shift``.
        settings: what is done how often.
        rng: the source of the draw; of the CPU, whatever the images' device.
    """
    seen = shifted(flipped(images, settings.flip, rng), settings.shift, rng)
    return mixed(seen, settings.mixup, settings.cutmix, rng)


def flipped(images: Tensor, probability: float, rng: torch.Generator) -> Tensor:
    """Flip each image left to right with a probability."""
    chosen = torch.rand(len(images), generator=rng).to(images.device) < probability
    return torch.where(_column(chosen), images.flip(-1), images)


def shifted(images: Tensor, reach: int, rng: torch.Generator) -> Tensor:
    """Move each image by its own offset in {-reach..reach}^2; the border is filled by reflection."""
    height, width = images.shape[-2:]
    down, right = torch.randint(0, 2 * reach + 1, (2, len(images), 1), generator=rng).to(images.device)
    rows = down + torch.arange(height, device=images.device)
    columns = right + torch.arange(width, device=images.device)
    # Channels last, since the indices of image, row and column stand side by side.
    padded = F.pad(images, [reach] * 4, mode="reflect").permute(0, 2, 3, 1)
    number = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[number, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def mixed(images: Tensor, mixup: float, cutmix: float, rng: torch.Generator) -> Tensor:
    """Blend or cut each image with one other of the batch, or leave it alone, by these probabilities."""
    count, _, height, width = images.shape
    draw = torch.rand(4, count, generator=rng).to(images.device)
    partner = images[torch.randperm(count, generator=rng).to(images.device)]
    kind, share = draw[0], draw[1]
    blended = _column(share) * images + (1 - _column(share)) * partner
    # The square root makes the area of the rectangle 1 - share, before it is cut off at the border.
    side = (1 - share).sqrt()[:, None] / 2
    in_rows = (_centres(height, images) - draw[2][:, None]).abs() < side
    in_columns = (_centres(width, images) - draw[3][:, None]).abs() < side
    cut = torch.where((in_rows[:, :, None] & in_columns[:, None, :])[:, None], partner, images)
    chosen = torch.where(_column(kind < mixup + cutmix), cut, images)
    return torch.where(_column(kind < mixup), blended, chosen)


def _column(values: Tensor) -> Tensor:
    """One value an image, shaped to be broadcast over (N, C, H, W)."""
    return values[:, None, None, None]


def _centres(pixels: int, like: Tensor) -> Tensor:
    """Centres of a row's pixels, as a share of its length."""
    return (torch.arange(pixels, device=like.device) + 0.5) / pixels
