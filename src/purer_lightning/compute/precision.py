"""Mixed precision: what is computed in at least float32 under autocast, and how.

Autocast lets networks convolve in bfloat16 or float16. Inner loops, feature statistics, losses and all gradients of
gradients stay in float32: a step of an inner loop is a small difference, which eight bits do not hold.

What float16 has not is range: on the way back through a network small gradients vanish and large ones overflow.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

SCALES = (2.0**16, 2.0**11, 2.0**6, 2.0, 2.0**-4)
"""By what a loss is multiplied in float16; the first is where PyTorch's GradScaler begins."""


def widened(values: Tensor) -> Tensor:
    """Return values in at least float32."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


@contextmanager
def full_precision(like: Tensor) -> Iterator[None]:
    """Turn autocast off on the device of ``like``."""
    with torch.autocast(like.device.type, enabled=False):
        yield


def gradients(loss: Tensor, inputs: Sequence[Tensor], *, all_used: bool = True) -> tuple[Tensor, ...]:
    """Return the gradient of a loss with respect to each input, its own part of the arithmetic in full precision.

    Where autocast is to float16, the loss is multiplied by a power of two and the gradient divided by it (loss scaling,
    Micikevicius et al. 2018): by the largest of ``SCALES`` for which nothing overflows. That is found anew each time,
    at the cost of a pass for each that does: a scale with a history would have to be the same on all ranks.

    Args:
        loss: scalar.
        inputs: float32 or float64.
        all_used: False gives zeros for inputs that the loss does not depend on, else they are an error of PyTorch's.

    Returns:
        Tensors of the inputs' shapes; not finite where the loss is not, or where all scales overflow.
    """
    device = loss.device.type
    half = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16
    found: tuple[Tensor, ...] = ()
    with full_precision(loss):
        for scale in SCALES if half else (1.0,):
            scaled = loss * scale if half else loss
            found = torch.autograd.grad(scaled, inputs, retain_graph=half or None, materialize_grads=not all_used)
            found = tuple(part / scale for part in found) if half else found
            if not half or all(bool(part.isfinite().all()) for part in found):
                break
    return found
