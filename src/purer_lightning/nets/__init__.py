"""Networks by name: ours, those of installed packages, and the user's own. A file never names code to import."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Protocol, cast

from pydantic import Field
from torch import Tensor, nn

from purer_lightning.errors import PurerError
from purer_lightning.files.records import STRICT, checked
from purer_lightning.nets.conv4 import Conv4
from purer_lightning.nets.resnet import resnet10, resnet18
from purer_lightning.plugs import Registry

LARGEST = 10**6  # of any size in a description; more is a damaged file
ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {"conv4": Conv4, "resnet10": resnet10, "resnet18": resnet18}


class FewShotNetwork(Protocol):
    """What every network offers beside being an ``nn.Module``: a backbone and a linear head.

    A network of your own is a class (or a function that returns one) which takes the arguments ``classes``,
    ``channels``, ``image_size`` and ``running_statistics``, all by name, and further whole numbers of your own. Without
    ``running_statistics`` its BatchNorm layers are ``nets.batchnorm.BatchNorm2d`` that track none. ``forward(images)``
    is ``head(features(images))``. Name it by its path (``NETWORKS.name`` in Python), or offer it to others by an entry
    point of the group ``purer_lightning.networks``.
    """

    head: nn.Linear

    def features(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to features before the linear head (N, head.in_features)."""
        ...


def _callable(part: Any, where: str) -> Callable[..., nn.Module]:
    if not callable(part):
        raise PurerError(f"Expected a class or function that makes a network, but {where} is none; name another.")
    return cast("Callable[..., nn.Module]", part)


NETWORKS = Registry("networks", ARCHITECTURES, _callable)


@dataclass
class NetworkSpec:
    """An architecture as data.

    Attributes:
        architecture: one of ours or of an installed package, or the path of one that the user has named.
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
        make = NETWORKS.find(self.architecture)
        checked(asdict(self), NetworkSpec, f"The description of a network '{self.architecture}'", "correct it")
        try:
            network: Any = make(
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
        if not (isinstance(getattr(network, "head", None), nn.Linear) and callable(getattr(network, "features", None))):
            raise PurerError(
                f"Expected the network '{self.architecture}' to have a method 'features' and a linear layer 'head', "
                "but it has not; see purer_lightning.nets.FewShotNetwork."
            )
        return cast("nn.Module", network)
