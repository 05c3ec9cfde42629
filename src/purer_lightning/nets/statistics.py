"""Mean and variance of what flows into BatchNorm layers."""

from typing import Any

import torch
from torch import Tensor

Statistics = dict[str, tuple[Tensor, Tensor]]
"""Name of a BatchNorm layer -> mean and biased variance of its input, each (channels,)."""


def channel_statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance over all but the channels of (N, C, H, W), each (C,).

    Differentiable to any order, and faster on a CPU than autograd through ``torch.var_mean``: benchmarks/README.md.
    """
    mean, variance = _ChannelStatistics.apply(values)  # type: ignore[no-untyped-call]
    return mean, variance


class _ChannelStatistics(torch.autograd.Function):
    """Two-pass mean and variance, whose gradient is one affine map a channel: a * x + b."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> tuple[Tensor, Tensor]:
        mean = values.mean(dim=(0, 2, 3), keepdim=True)
        variance = (values - mean).square_().mean(dim=(0, 2, 3))
        ctx.save_for_backward(values)
        return mean.flatten(), variance

    @staticmethod
    def backward(ctx: Any, to_mean: Tensor, to_variance: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        count = values.numel() // values.shape[1]
        # d variance / d x = 2 (x - mean) / count; the mean is taken anew so that this can be differentiated again.
        slope = to_variance * (2 / count)
        offset = to_mean / count - slope * values.mean(dim=(0, 2, 3))
        return torch.addcmul(offset.view(-1, 1, 1), values, slope.view(-1, 1, 1))
