"""The priors on pixels, total variation and l2 norm, in one pass over the images, and their gradient in one more."""

from typing import Any

import torch
from torch import Tensor

from purer_lightning.engine import kernels
from purer_lightning.inversion.priors import pixel_norms


def fused_pixel_norms(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return what ``pixel_norms`` does, and as it does where the kernels do not apply.

    Args:
        images: (N, C, H, W).
    """
    if not kernels.applies(images):
        return pixel_norms(images)
    variation, l2 = _PixelPriors.apply(images)  # type: ignore[no-untyped-call]
    return variation, l2


class _PixelPriors(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor) -> tuple[Tensor, Tensor]:
        lying = images if kernels.lies_channels_last(images) else images.contiguous()
        norms = kernels.squares(lying).sqrt()
        ctx.save_for_backward(images, lying, norms)
        return norms[:4].sum().to(images.dtype), norms[4].to(images.dtype)

    @staticmethod
    def backward(ctx: Any, to_variation: Tensor, to_l2: Tensor) -> Tensor:
        images, lying, norms = ctx.saved_tensors
        if torch.is_grad_enabled():  # of a derivative that is to be differentiated again
            values = list(pixel_norms(images))
            return torch.autograd.grad(values, [images], [to_variation, to_l2], create_graph=True)[0]
        # Where there are no differences there is no gradient, as PyTorch has it for a norm.
        weights = torch.where(norms > 0, torch.cat([to_variation.expand(4), to_l2.expand(1)]) / norms, 0.0)
        return kernels.squares_gradient(lying, weights.to(images.dtype))
