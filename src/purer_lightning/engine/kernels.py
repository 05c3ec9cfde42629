"""Calls into the compiled kernels of the priors on pixels, and where any kernel applies: priors.cpp."""

import ctypes

import torch
from torch import Tensor

from purer_lightning.engine.compilation import library

SUFFIXES = {torch.float32: "float32", torch.float64: "float64"}


def applies(x: Tensor) -> bool:
    """Whether the kernels work on this tensor: on the CPU, of float32 or float64, and not empty."""
    return x.device.type == "cpu" and x.dtype in SUFFIXES and x.numel() > 0 and library().functions is not None


def lies_channels_last(images: Tensor) -> bool:
    """Whether the channels are innermost in memory, rather than planes of their own."""
    return images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()


def squares(images: Tensor) -> Tensor:
    """Return the sums of squares of the four differences of total variation and of the values, float64 (5,).

    Args:
        images: (N, C, H, W), contiguous or channels last.
    """
    count, height, length, step = _rows(images)
    sums = torch.zeros(count, 5, dtype=torch.float64)
    _call("squares", images, count, height, length, step, sums)
    return sums.sum(dim=0)


def squares_gradient(images: Tensor, weights: Tensor) -> Tensor:
    """Return the gradient of ``weights @ squares(images) / 2``, of the images' shape; weights (5,) in their type."""
    result = torch.empty_like(images)
    _call("squares_gradient", images, weights, *_rows(images), result)
    return result


def _rows(images: Tensor) -> tuple[int, int, int, int]:
    """Return how many images, or planes of a channel, of how many rows of how many numbers; pixels so far apart."""
    count, channels, height, width = images.shape
    if lies_channels_last(images):
        return count, height, width * channels, channels
    return count * channels, height, width, 1


def _call(name: str, x: Tensor, *arguments: Tensor | int) -> None:
    """Call one kernel. A tensor is passed as its address, so its memory layout must be what the kernel expects."""
    function = getattr(library().functions, f"{name}_{SUFFIXES[x.dtype]}")
    function(*(_passable(argument) for argument in (x, *arguments)), ctypes.c_int(torch.get_num_threads()))


def _passable(argument: Tensor | int) -> ctypes.c_void_p | ctypes.c_int64:
    return ctypes.c_int64(argument) if isinstance(argument, int) else ctypes.c_void_p(argument.data_ptr())
