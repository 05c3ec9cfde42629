"""Contrast: a flat grey image is no picture, however little its neighbouring pixels differ."""

from torch import Tensor

from purer_lightning.inversion.priors import Prior, Seen


class Contrast(Prior):
    """Pulls the spread of each image's pixels up to a least one; logged as ``inversion/contrast``.

    Args:
        weight: of the term in the inversion loss.
        least: standard deviation above which an image costs nothing; 1 is that of normalised pixels.
    """

    def __init__(self, weight: float, least: float = 1.0) -> None:
        super().__init__(weight)
        self.least = least

    def __call__(self, seen: Seen) -> Tensor:
        """Return how much spread is missing, as a mean over the batch."""
        return (self.least - seen.images.flatten(1).std(dim=1)).clamp_min(0).mean()
