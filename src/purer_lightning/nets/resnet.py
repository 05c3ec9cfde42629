"""ResNet-10 and ResNet-18 in their few-shot form: stages of basic blocks, global average pooling, linear head."""

from torch import Tensor, nn
from torch.nn import functional as F

from purer_lightning.nets.batchnorm import BatchNorm2d
from purer_lightning.nets.convolution import Conv2d


class ResNet(nn.Module):
    """A ResNet of basic blocks, as in the few-shot comparison of Chen et al. (2019).

    Small images (up to 64 pixels) enter through a 3x3 convolution of stride 1; larger ones through 7x7 of stride 2
    and a 3x3 max-pooling of stride 2.

    Args:
        blocks: basic blocks in each of the four stages.
        classes: outputs of the head.
        channels: image channels.
        image_size: height and width in pixels.
        running_statistics: whether BatchNorm keeps running statistics.
        width: filters of the first stage; doubled at each later stage.
    """

    def __init__(
        self,
        blocks: tuple[int, int, int, int],
        classes: int,
        channels: int,
        image_size: int,
        running_statistics: bool = True,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.stem = _stem(channels, width, image_size, running_statistics)
        stages, inputs = [], width
        for stage, depth in enumerate(blocks):
            outputs = width * 2**stage
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(BasicBlock(inputs, outputs, stride, running_statistics))
                inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, classes)

    def features(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to features (N, 8 * width), averaged over all positions."""
        features: Tensor = self.stages(self.stem(images)).mean(dim=(2, 3))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm and a shortcut; the shortcut is a 1x1 convolution where shapes change."""

    def __init__(self, inputs: int, outputs: int, stride: int, running_statistics: bool) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, 3, stride, running_statistics)
        self.second = _convolution(outputs, outputs, 3, 1, running_statistics)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else _convolution(inputs, outputs, 1, stride, running_statistics)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        return F.relu(self.second(F.relu(self.first(images))) + self.shortcut(images))


def resnet10(classes: int, channels: int, image_size: int, running_statistics: bool = True, width: int = 64) -> ResNet:
    """One basic block a stage."""
    return ResNet((1, 1, 1, 1), classes, channels, image_size, running_statistics, width)


def resnet18(classes: int, channels: int, image_size: int, running_statistics: bool = True, width: int = 64) -> ResNet:
    """Two basic blocks a stage."""
    return ResNet((2, 2, 2, 2), classes, channels, image_size, running_statistics, width)


def _stem(channels: int, width: int, image_size: int, running_statistics: bool) -> nn.Sequential:
    if image_size <= 64:
        return nn.Sequential(_convolution(channels, width, 3, 1, running_statistics), nn.ReLU())
    return nn.Sequential(
        _convolution(channels, width, 7, 2, running_statistics), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)
    )


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, running_statistics: bool) -> nn.Sequential:
    return nn.Sequential(
        Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        BatchNorm2d(outputs, track_running_stats=running_statistics),
    )
