"""A small network of two blocks with average pooling, as teacher and as meta-model."""

from torch import Tensor, nn

from purer_lightning.nets.batchnorm import BatchNorm2d


class Small(nn.Module):
    """Takes the arguments of every network, and a width of its own."""

    def __init__(
        self, classes: int, channels: int, image_size: int, running_statistics: bool = True, width: int = 8
    ) -> None:
        super().__init__()
        del image_size  # fits any
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            BatchNorm2d(width, track_running_stats=running_statistics),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            BatchNorm2d(2 * width, track_running_stats=running_statistics),
            nn.ReLU(),
        )
        self.head = nn.Linear(2 * width, classes)

    def features(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to their mean features (N, 2 * width)."""
        features: Tensor = self.body(images).mean(dim=(2, 3))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits
