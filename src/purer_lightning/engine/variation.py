"""Total variation in one pass over the images, and its gradient in one more."""

from typing import Any

import torch
from torch import Tensor

from purer_lightning.engine import kernels
from purer_lightning.inversion.priors import total_variation


def fused_variation(images: Tensor) -> Tensor:
    """Return what ``total_variation`` returns, and compute it as that does where the kernels do not apply.

    Args:
        images: (N, C, H, W).
    """
    if not kernels.applies(images):
        return total_variation(images)
    result: Tensor = _Variation.apply(images)  # type: ignore[no-untyped-call]
    return result


class _Variation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        lying = images.contiguous()
        norms = kernels.variation(lying).sqrt()
        ctx.save_for_backward(images, lying, norms)
        return norms.sum().to(images.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        images, lying, norms = ctx.saved_tensors
        if torch.is_grad_enabled():  # of a derivative that is to be differentiated again
            value = total_variation(images)
            return torch.autograd.grad(value, [images], [gradient], create_graph=True)[0]
        # Where there are no differences there is no gradient, as PyTorch has it for a norm.
        weights = torch.where(norms > 0, gradient / norms, 0.0)
        return kernels.variation_gradient(lying, weights.to(images.dtype))
