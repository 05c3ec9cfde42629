"""Mixed precision: what is computed in at least float32 under autocast, and how.

Autocast lets networks convolve in bfloat16. Inner loops, feature statistics, losses and all gradients of gradients stay
in float32: a step of an inner loop is a small difference, which eight bits do not hold.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def widened(values: Tensor) -> Tensor:
    """Return values in at least float32."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


@contextmanager
def full_precision(like: Tensor) -> Iterator[None]:
    """Turn autocast off on the device of ``like``."""
    with torch.autocast(like.device.type, enabled=False):
        yield
