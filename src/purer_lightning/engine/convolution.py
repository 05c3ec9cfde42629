"""3x3 convolution of stride 1 whose gradient with respect to images of few channels is cheap on a CPU."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

LANES = 16  # outputs that a vector instruction works on; a convolution with fewer outputs wastes the rest


def convolved(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the convolution with padding 1, (N, filters, H, W), of images (N, C, H, W).

    The gradient with respect to images of three channels has three outputs a pixel, for which a CPU takes as long as
    for sixteen. Four pixels at once have twelve: half the time (benchmarks/README.md).
    """
    few = 4 * weight.shape[1] <= LANES and images.shape[2] % 2 == images.shape[3] % 2 == 0
    if few and images.requires_grad and images.device.type == "cpu" and torch.is_grad_enabled():
        result: Tensor = _FewChannels.apply(images, weight, bias)  # type: ignore[no-untyped-call]
        return result
    return F.conv2d(images, weight, bias, padding=1)


class _FewChannels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(images, weight)
        return F.conv2d(images, weight, bias, padding=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        # Of differentiable operations alone, so that this can be differentiated again.
        images, weight = ctx.saved_tensors
        to_images = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_images = F.pixel_shuffle(F.conv2d(gradient, four_pixels(weight), stride=2, padding=1), 2)
        if ctx.needs_input_grad[1]:
            to_weight = conv2d_weight(images, list(weight.shape), gradient, padding=1)  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[2]:
            to_bias = gradient.sum(dim=(0, 2, 3))
        return to_images, to_weight, to_bias


def four_pixels(weight: Tensor) -> Tensor:
    """Return the 4x4 kernel of stride 2 whose outputs are the image's gradient at four neighbouring pixels.

    Args:
        weight: of the convolution, (filters, channels, 3, 3).

    Returns:
        (channels * 4, filters, 4, 4), in the order of ``pixel_shuffle``: channel, row, column.
    """
    turned = weight.flip(-1, -2).transpose(0, 1)
    shifted = [F.pad(turned, (right, 1 - right, down, 1 - down)) for down in range(2) for right in range(2)]
    kernel = torch.stack(shifted, dim=1).flatten(0, 1)
    return kernel.contiguous(memory_format=torch.channels_last)
