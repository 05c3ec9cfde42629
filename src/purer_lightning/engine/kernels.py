"""Calls into the compiled kernels: tensors in, tensors out, no derivatives. What they compute: kernels.cpp.

Activations (N, C, H, W) lie with the channels last, and so do those that are returned.
"""

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from purer_lightning.engine.compilation import library

PASSED_NOTHING = 4  # of kernels.cpp
SUFFIXES = {torch.float32: "float32", torch.float64: "float64"}


class Pooled(NamedTuple):
    """What ``block`` gives.

    Attributes:
        values: (N, C, H // 2, W // 2).
        place: uint8, in that shape and order: which of its four pixels each value is, 4 where ReLU let nothing pass.
        mean: of the batch, (C,); None where it was not asked for.
        variance: biased, likewise.
    """

    values: Tensor
    place: Tensor
    mean: Tensor | None
    variance: Tensor | None


class Gradients(NamedTuple):
    """What ``block_gradient`` gives; None where it was not asked for.

    Attributes:
        x: of x's shape.
        weight: (C,).
        bias: (C,).
    """

    x: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


def applies(x: Tensor) -> bool:
    """Whether the kernels work on this tensor: on the CPU, of float32 or float64, and not empty."""
    return x.device.type == "cpu" and x.dtype in SUFFIXES and x.numel() > 0 and library().functions is not None


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance by channel, each (C,)."""
    images, channels, height, width = x.shape
    mean, variance = x.new_empty(channels), x.new_empty(channels)
    _call("statistics", x, images, height * width, channels, mean, variance)
    return mean, variance


def block(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, given: tuple[Tensor, Tensor] | None, *, report: bool
) -> Pooled:
    """Return BatchNorm, ReLU and 2x2 max-pooling of x.

    Args:
        x: (N, C, H, W).
        weight: scale of BatchNorm, (C,).
        bias: shift of BatchNorm, (C,).
        eps: of BatchNorm.
        given: mean and variance to normalise by; None: the batch's own.
        report: return the batch's own statistics, too; it does so anyway where these are used.
    """
    images, channels, height, width = x.shape
    values = _empty(images, channels, height // 2, width // 2, x)
    place = torch.empty(values.numel(), dtype=torch.uint8)
    own = None if given and not report else (x.new_empty(channels), x.new_empty(channels))
    mean, variance = own or (None, None)
    given_mean, given_variance = given or (None, None)
    shape = (images, height, width, channels)
    _call("block", x, weight, bias, given_mean, given_variance, eps, *shape, values, place, mean, variance)
    return Pooled(values, place, mean, variance)


def block_gradient(
    x: Tensor,
    weight: Tensor,
    eps: float,
    given: tuple[Tensor, Tensor] | None,
    found: tuple[Tensor, Tensor | None, Tensor | None],
    gradients: tuple[Tensor, Tensor | None, Tensor | None],
    *,
    for_x: bool,
    for_weights: bool,
) -> Gradients:
    """Return the gradients of ``block``.

    Args:
        x: as given to ``block``.
        weight: likewise.
        eps: likewise.
        given: likewise.
        found: the place and the statistics that it returned.
        gradients: of values, mean and variance; None for a statistic that nothing depends on.
        for_x: whether that of x is wanted.
        for_weights: whether those of weight and bias are wanted.
    """
    images, channels, height, width = x.shape
    to_values, to_mean, to_variance = gradients
    place, own_mean, own_variance = found
    mean, variance = given or (own_mean, own_variance)
    to_x = torch.empty_like(x) if for_x else None
    to_weight, to_bias = (x.new_empty(channels), x.new_empty(channels)) if for_weights else (None, None)
    lying = to_values.contiguous(memory_format=torch.channels_last)
    used = (place, weight, mean, variance, eps, int(given is None))
    statistics = (own_mean, _lying(to_mean), _lying(to_variance))
    shape = (images, height, width, channels)
    _call("block_gradient", x, lying, *used, *statistics, *shape, to_x, to_weight, to_bias)
    return Gradients(to_x, to_weight, to_bias)


def chosen(x: Tensor, place: Tensor) -> Tensor:
    """Return the pixels of x that the pooled values came from, 0 where ReLU let nothing pass; in the pooled shape."""
    images, channels, height, width = x.shape
    result = _empty(images, channels, height // 2, width // 2, x)
    _call("chosen", x, place, images, height, width, channels, result)
    return result


def scattered(gradient: Tensor, place: Tensor, shape: torch.Size) -> Tensor:
    """Return the transpose of ``chosen``: a gradient of the pooled values, put where these came from."""
    images, channels, height, width = shape
    one, zero = gradient.new_ones(channels), gradient.new_zeros(channels)
    nothing = gradient.new_zeros(images, height, width, channels)
    result = _empty(images, channels, height, width, gradient)
    lying = gradient.contiguous(memory_format=torch.channels_last)
    _call("backward", nothing, lying, place, one, zero, zero, images, height, width, channels, result)
    return result


def has_image_gradient(gradient: Tensor, channels: int) -> bool:
    """Whether ``image_gradient`` works on this gradient (N, filters, H, W) for images of so many channels."""
    return applies(gradient) and channels <= 4 and gradient.shape[1] * gradient.element_size() % 64 == 0


def image_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient with respect to the images, (N, C, H, W), of a 3x3 convolution with padding 1.

    Args:
        gradient: of its output, (N, filters, H, W); see ``has_image_gradient``.
        weight: (filters, C, 3, 3).
    """
    images, filters, height, width = gradient.shape
    channels = weight.shape[1]
    lying = gradient.contiguous(memory_format=torch.channels_last)
    taps = weight.permute(2, 3, 1, 0).contiguous()
    result = _empty(images, channels, height, width, gradient)
    _call("image_gradient", lying, taps, images, height, width, filters, channels, result)
    return result


def variation(images: Tensor) -> Tensor:
    """Return the sums of squares of the four differences that make up the total variation, float64 (4,).

    Args:
        images: (N, C, H, W), contiguous.
    """
    planes, height, width = images.flatten(0, 1).shape
    sums = torch.zeros(planes, 4, dtype=torch.float64)
    _call("variation", images, planes, height, width, sums)
    return sums.sum(dim=0)


def variation_gradient(images: Tensor, weights: Tensor) -> Tensor:
    """Return the gradient of ``weights @ variation(images) / 2``, of the images' shape; weights (4,) in their type."""
    planes, height, width = images.flatten(0, 1).shape
    result = torch.empty_like(images)
    _call("variation_gradient", images, weights, planes, height, width, result)
    return result


def _empty(images: int, channels: int, height: int, width: int, like: Tensor) -> Tensor:
    return like.new_empty(images, height, width, channels).permute(0, 3, 1, 2)


def _lying(vector: Tensor | None) -> Tensor | None:
    return None if vector is None else vector.contiguous()


def _call(name: str, x: Tensor, *arguments: Tensor | int | float | None) -> None:
    """Call one kernel; a tensor becomes its address, so each has to lie as the kernel expects it."""
    function = getattr(library().functions, f"{name}_{SUFFIXES[x.dtype]}")
    function(*(_passable(argument) for argument in (x, *arguments)), ctypes.c_int(torch.get_num_threads()))


def _passable(argument: Tensor | int | float | None) -> ctypes.c_void_p | ctypes.c_int64 | ctypes.c_double:
    if isinstance(argument, float):
        return ctypes.c_double(argument)
    if isinstance(argument, int):
        return ctypes.c_int64(argument)
    return ctypes.c_void_p(None if argument is None else argument.data_ptr())
