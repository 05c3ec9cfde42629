"""Conv4: the four-block convolutional network of the few-shot literature (Vinyals et al. 2016; 32 filters in PURER)."""

from torch import Tensor, nn

from purer_lightning.errors import PurerError
from purer_lightning.nets.batchnorm import BatchNorm2d


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution with bias, BatchNorm, ReLU and 2x2 max-pooling, then a linear head.

    Args:
        classes: outputs of the head.
        channels: image channels.
        image_size: height and width in pixels; at least 16, since four poolings halve it four times.
        running_statistics: whether BatchNorm keeps running statistics.
        width: filters of every convolution; 32 in PURER's experiments.

    Raises:
        PurerError: image_size below 16.
    """

    def __init__(
        self, classes: int, channels: int, image_size: int, running_statistics: bool = True, width: int = 32
    ) -> None:
        super().__init__()
        if image_size < 16:
            raise PurerError(f"Expected image_size of at least 16 for conv4, but got {image_size}.")
        self.blocks = nn.Sequential(
            *(_block(channels if depth == 0 else width, width, running_statistics) for depth in range(4))
        )
        self.head = nn.Linear(width * (image_size // 16) ** 2, classes)

    def features(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to features (N, width * (image_size // 16) ** 2)."""
        features: Tensor = self.blocks(images).flatten(1)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _block(channels: int, width: int, running_statistics: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=3, padding=1),
        BatchNorm2d(width, track_running_stats=running_statistics),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
