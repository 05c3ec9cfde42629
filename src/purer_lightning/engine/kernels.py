"""Calls into the compiled kernels of total variation, and where any kernel applies: variation.cpp."""

import ctypes

import torch
from torch import Tensor

from purer_lightning.engine.compilation import library

SUFFIXES = {torch.float32: "float32", torch.float64: "float64"}


def applies(x: Tensor) -> bool:
    """Whether the kernels work on this tensor: on the CPU, of float32 or float64, and not empty."""
    return x.device.type == "cpu" and x.dtype in SUFFIXES and x.numel() > 0 and library().functions is not None


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


def _call(name: str, x: Tensor, *arguments: Tensor | int) -> None:
    """Call one kernel; a tensor becomes its address, so each has to lie as the kernel expects it."""
    function = getattr(library().functions, f"{name}_{SUFFIXES[x.dtype]}")
    function(*(_passable(argument) for argument in (x, *arguments)), ctypes.c_int(torch.get_num_threads()))


def _passable(argument: Tensor | int) -> ctypes.c_void_p | ctypes.c_int64:
    return ctypes.c_int64(argument) if isinstance(argument, int) else ctypes.c_void_p(argument.data_ptr())
