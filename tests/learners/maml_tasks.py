"""The task that MAML's tests adapt to, in float64."""

from collections.abc import Mapping

import torch
from torch import Tensor

import reference

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def pictures(count: int, seed: int) -> Tensor:
    return torch.randn(count, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def support() -> tuple[Tensor, Tensor]:
    return pictures(len(LABELS), 0), LABELS


def in_order(weights: Mapping[str, Tensor]) -> list[Tensor]:
    return [weights[name] for name in reference.PARAMETERS]
