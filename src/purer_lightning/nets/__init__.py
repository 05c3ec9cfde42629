"""Networks by name. A pool on disk names an architecture; it never names code to import."""

from dataclasses import asdict, dataclass, field
from typing import Annotated, Protocol

from pydantic import Field
from torch import Tensor, nn

from purer_lightning.errors import PurerError, nearest
from purer_lightning.files.records import STRICT, checked
from purer_lightning.nets.conv4 import Conv4
from purer_lightning.nets.resnet import resnet10, resnet18

LARGEST = 10**6  # of any size in a description; more is a damaged file
ARCHITECTURES = {"conv4": Conv4, "resnet10": resnet10, "resnet18": resnet18}


class FewShotNetwork(Protocol):
    """What every network here offers beside being an ``nn.Module``: a backbone and a linear head."""

    head: nn.Linear

    def features(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to features before the linear head (N, head.in_features)."""
        ...


@dataclass
class NetworkSpec:
    """An architecture as data.

    Attributes:
        architecture: a key of ``ARCHITECTURES``.
        classes: outputs of the linear head.
        channels: image channels.
        image_size: height and width in pixels.
        arguments: further arguments of the architecture, for example ``{"width": 64}`` for conv4.
    """

    __pydantic_config__ = STRICT

    architecture: str = "conv4"
    classes: Annotated[int, Field(ge=1, le=LARGEST)] = 5
    channels: Annotated[int, Field(ge=1, le=LARGEST)] = 3
    image_size: Annotated[int, Field(ge=0, le=LARGEST)] = 32  # each network has a least size of its own
    arguments: dict[str, Annotated[int, Field(ge=-LARGEST, le=LARGEST)]] = field(default_factory=dict)

    def build(self, *, running_statistics: bool) -> nn.Module:
        """Make the network with fresh weights drawn from torch's global generator.

        Args:
            running_statistics: True for teachers. A meta-model's BatchNorm keeps none and always uses its batch's.

        Raises:
            PurerError: unknown architecture or argument.
        """
        if self.architecture not in ARCHITECTURES:
            raise PurerError(
                f"Expected an architecture among {sorted(ARCHITECTURES)}, but got '{self.architecture}'."
                f"{nearest(self.architecture, ARCHITECTURES)}"
            )
        checked(asdict(self), NetworkSpec, f"The description of a network '{self.architecture}'", "correct it")
        try:
            return ARCHITECTURES[self.architecture](
                classes=self.classes,
                channels=self.channels,
                image_size=self.image_size,
                running_statistics=running_statistics,
                **self.arguments,
            )
        except TypeError as error:
            raise PurerError(
                f"The arguments {self.arguments} do not fit {self.architecture}: {str(error).splitlines()[0]}."
            ) from error
