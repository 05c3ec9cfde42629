"""3x3 convolution of stride 1 whose gradient with respect to images of few channels is cheap on a CPU."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from purer_lightning.engine import kernels

FEW = 4  # channels for which kernels.cpp has its own gradient


def convolved(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the convolution with padding 1, (N, filters, H, W), of images (N, C, H, W).

    The gradient with respect to images of three channels has three outputs a pixel, for which PyTorch takes as long as
    for sixteen on a CPU: a kernel of ours needs a quarter of that (benchmarks/README.md).
    """
    if weight.shape[1] <= FEW and images.requires_grad and images.device.type == "cpu" and torch.is_grad_enabled():
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
        # Of differentiable operations, where this is to be differentiated again.
        images, weight = ctx.saved_tensors
        to_images = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            by_kernel = not torch.is_grad_enabled() and kernels.has_image_gradient(gradient, images.shape[1])
            to_images = kernels.image_gradient(gradient, weight) if by_kernel else by_convolution(gradient, weight)
        if ctx.needs_input_grad[1]:
            to_weight = conv2d_weight(images, list(weight.shape), gradient, padding=1)  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[2]:
            to_bias = gradient.sum(dim=(0, 2, 3))
        return to_images, to_weight, to_bias


def by_convolution(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return the images' gradient in operations that autograd knows."""
    return F.conv_transpose2d(gradient, weight, padding=1)
