"""Calls into the compiled kernels: tensors in, tensors out, no derivatives. What they compute: kernels.cpp."""

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from purer_lightning.engine.compilation import library

PASSED_NOTHING = 4  # of kernels.cpp
SUFFIXES = {torch.float32: "float32", torch.float64: "float64"}


class Pooled(NamedTuple):
    """What ``forward`` gives.

    Attributes:
        values: ``pool(relu(x * scale + shift))``, (N, C, H // 2, W // 2), channels last.
        place: uint8, in that shape and order: which of its four pixels each value is, 4 where ReLU let nothing pass.
    """

    values: Tensor
    place: Tensor


def applies(x: Tensor) -> bool:
    """Whether the kernels work on this tensor: on the CPU, of float32 or float64, and not empty."""
    return x.device.type == "cpu" and x.dtype in SUFFIXES and x.numel() > 0 and library().functions is not None


def moments(x: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance by channel, each (C,), of x (N, C, H, W), channels last.

    Args:
        x: the activation.
        reference: (C,), subtracted before anything is squared; the nearer to the mean, the fewer digits are lost.
    """
    images, channels, height, width = x.shape
    sums = torch.zeros(images, 2, channels, dtype=torch.float64)
    _call("moments", x, reference, images, height * width, channels, sums)
    return _mean_and_variance(sums, reference, images * height * width)


def forward(
    x: Tensor, scale: Tensor, shift: Tensor, reference: Tensor | None = None
) -> tuple[Pooled, tuple[Tensor, Tensor] | None]:
    """Return ``pool(relu(x * scale + shift))`` and, given a reference, what ``moments`` returns, in the same pass."""
    images, channels, height, width = x.shape
    values = torch.empty((images, channels, height // 2, width // 2), dtype=x.dtype, memory_format=torch.channels_last)
    place = torch.empty(values.numel(), dtype=torch.uint8)
    sums = None if reference is None else torch.zeros(images, 2, channels, dtype=torch.float64)
    _call("forward", x, scale, shift, reference, images, height, width, channels, values, place, sums)
    if reference is None or sums is None:
        return Pooled(values, place), None
    return Pooled(values, place), _mean_and_variance(sums, reference, images * height * width)


def passed(x: Tensor, gradient: Tensor, place: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Return, by channel, the sums of the gradient that comes through and of its product with ``x - reference``."""
    images, channels, height, width = x.shape
    sums = torch.zeros(images, 2, channels, dtype=torch.float64)
    _call("passed", x, gradient, place, reference, images, height, width, channels, sums)
    first, second = sums.sum(dim=0).to(x.dtype)
    return first, second


def chosen(x: Tensor, place: Tensor) -> Tensor:
    """Return the pixels of x that the pooled values came from, 0 where ReLU let nothing pass; in the pooled shape."""
    images, channels, height, width = x.shape
    result = x.new_empty(images, height // 2, width // 2, channels).permute(0, 3, 1, 2)
    _call("chosen", x, place, images, height, width, channels, result)
    return result


def scattered(gradient: Tensor, place: Tensor, shape: torch.Size) -> Tensor:
    """Return the transpose of ``chosen``: a gradient of the pooled values, put where these came from."""
    one, zero = gradient.new_ones(shape[1]), gradient.new_zeros(shape[1])
    nothing = gradient.new_zeros(shape).contiguous(memory_format=torch.channels_last)
    return backward(nothing, gradient.contiguous(memory_format=torch.channels_last), place, one, zero, zero)


def backward(x: Tensor, gradient: Tensor, place: Tensor, scale: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    """Return the gradient that comes through times ``scale``, plus ``slope * x + offset``; the shape of x."""
    images, channels, height, width = x.shape
    result = torch.empty_like(x)
    _call("backward", x, gradient, place, scale, slope, offset, images, height, width, channels, result)
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
    result = torch.zeros_like(images)
    _call("variation_gradient", images, weights, planes, height, width, result)
    return result


def _mean_and_variance(sums: Tensor, reference: Tensor, count: int) -> tuple[Tensor, Tensor]:
    difference, square = sums.sum(dim=0) / count
    return (reference + difference).to(reference.dtype), (square - difference.square()).to(reference.dtype)


def _call(name: str, x: Tensor, *arguments: Tensor | int | None) -> None:
    """Call one kernel; a tensor becomes its address, so each has to lie as the kernel expects it."""
    function = getattr(library().functions, f"{name}_{SUFFIXES[x.dtype]}")
    function(*(_passable(argument) for argument in (x, *arguments)), ctypes.c_int(torch.get_num_threads()))


def _passable(argument: Tensor | int | None) -> ctypes.c_void_p | ctypes.c_int64:
    if isinstance(argument, int):
        return ctypes.c_int64(argument)
    return ctypes.c_void_p(None if argument is None else argument.data_ptr())
