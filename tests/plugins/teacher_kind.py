"""Linear classifiers of pixels, as a text file of numbers: a kind of teacher that this package knows nothing of."""

import json

import torch
from torch import Tensor, nn

from purer_lightning.errors import PurerError
from purer_lightning.pool.kinds import TeacherKind
from purer_lightning.pool.manifest import TeacherRecord


class Pixels(nn.Module):
    """Its features are the pixels."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.head = nn.Linear(weight.shape[1], weight.shape[0])
        self.head.load_state_dict({"weight": weight, "bias": torch.zeros(len(weight))})

    def features(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to (N, C * H * W)."""
        return images.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits


class LinearText(TeacherKind):
    """A JSON list of rows, one for each class."""

    def network(self, record: TeacherRecord, content: bytes, where: str) -> nn.Module:
        """Return the classifier that these rows are the weights of."""
        del record
        try:
            return Pixels(torch.tensor(json.loads(content), dtype=torch.float32))
        except (ValueError, TypeError, IndexError) as error:
            raise PurerError(f"{where}: expected rows of numbers, but could not read them ({error}).") from error
