"""Calls into the compiled kernels of a block: tensors in, tensors out, no derivatives. What they compute: block.hpp.

Images and activations (N, C, H, W) are in channels-last memory, and so are those that are returned.
"""

import ctypes
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from purer_lightning.engine.compilation import library
from purer_lightning.engine.kernels import SUFFIXES
from purer_lightning.errors import PurerError

FEW = 4  # up to so few channels, convolving again costs less than reading the stored result
LARGE = 2**20  # bytes that no cache near a core holds
LINE = 64  # bytes of a cache line, and at most of a vector

TYPES = {"int64_t": ctypes.c_int64, "double": ctypes.c_double, "Strides": ctypes.c_int64 * 4}  # others are pointers


def declared_fields(header: str) -> list[tuple[str, Any]]:
    """Return name and type of each field of ``struct Arguments``, whose only declaration is in block.hpp.

    Args:
        header: the text of block.hpp; the fields end at the struct's first empty line.
    """
    body = header.partition("struct Arguments {")[2].partition("\n\n")[0]
    fields = []
    for declaration in re.sub("//.*", "", body).split(";")[:-1]:
        kind, names = re.fullmatch(r"\s*(?:const )?(\w+)(.*)", declaration, re.S).groups()  # type: ignore[union-attr]
        fields += [(name, TYPES.get(kind, ctypes.c_void_p)) for name in re.findall(r"\w+", names)]
    return fields


class _Arguments(ctypes.Structure):
    _fields_ = declared_fields((Path(__file__).parent / "block.hpp").read_text(encoding="utf-8"))


@cache
def functions() -> ctypes.CDLL:
    """Return the compiled kernels after checking that their structure of arguments is ours.

    Raises:
        PurerError: their structure of arguments has another size.
    """
    compiled = library().functions
    assert compiled is not None  # ``applies`` has been asked
    if (size := compiled.arguments_size()) != ctypes.sizeof(_Arguments):
        raise PurerError(
            f"Expected the compiled kernels to take arguments of {ctypes.sizeof(_Arguments)} bytes, but they take "
            f"{size}; remove purer-lightning's folder from the user's cache, or set engine.choice to plain."
        )
    return compiled


Flowing = tuple[Tensor, Tensor | None, Tensor | None]
"""The gradient of values, mean and variance; None for a statistic that nothing depends on."""


class Given(NamedTuple):
    """What a block is given.

    Attributes:
        x: images, (N, C, H, W).
        weight: of the convolution, (F, C, 3, 3), dense in any order of dimensions.
        bias: (F,), or None.
        scale: of BatchNorm, (F,).
        shift: likewise.
        mean: to normalise by, (F,); None: the batch's own.
        variance: likewise.
        eps: of BatchNorm.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    scale: Tensor
    shift: Tensor
    mean: Tensor | None
    variance: Tensor | None
    eps: float

    def tensors(self) -> dict[str, Tensor | None]:
        """Return them by the kernels' names."""
        named = {name: getattr(self, name) for name in ("x", "weight", "bias", "scale", "shift")}
        return named | {"given_mean": self.mean, "given_variance": self.variance}


class Found(NamedTuple):
    """What a block finds on its way to the pooled values.

    Attributes:
        mean: of the batch, (F,); None where it was not asked for.
        variance: biased, likewise.
        chosen: the convolution's outputs that the pooled values came from, in the kernels' layout.
        place: uint8, likewise: which of its four pixels each value is, 4 where ReLU let nothing pass. Both are None
            where no gradient will be asked for.
        convolved: the convolution's output, likewise; None where it was not kept.
    """

    mean: Tensor | None
    variance: Tensor | None
    chosen: Tensor | None
    place: Tensor | None
    convolved: Tensor | None


class Gradients(NamedTuple):
    """Gradients of what a block is given, each of its shape; None where it was not asked for."""

    x: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    scale: Tensor | None
    shift: Tensor | None

    def tensors(self, prefix: str) -> dict[str, Tensor | None]:
        """Return them by the kernels' names."""
        return {f"{prefix}_{name}": value for name, value in self._asdict().items()}


def block(given: Given, *, report: bool, graph: bool) -> tuple[Tensor, Found]:
    """Return convolution, BatchNorm, ReLU and 2x2 max-pooling, (N, F, H // 2, W // 2), and what its gradient needs.

    Args:
        given: the images and the block's parameters.
        report: return the batch's own statistics, too; it does so anyway where these are used.
        graph: whether a gradient will be asked for.
    """
    images, channels, height, width = given.x.shape
    filters, like, own = given.weight.shape[0], given.x, given.mean is None
    lanes = LINE // like.element_size()
    stride = -(-filters // lanes) * lanes
    size, windows = images * height * width * stride, images * (height // 2) * (width // 2) * stride
    # Read again by the second pass over the images, or by the gradient.
    is_read = own or (report and graph)
    keep = is_read and (channels > FEW or size * like.element_size() <= LARGE)
    values = _empty_images((images, filters, height // 2, width // 2), like)
    found = Found(
        mean=like.new_empty(filters) if own or report else None,
        variance=like.new_empty(filters) if own or report else None,
        chosen=like.new_empty(windows) if graph else None,
        place=torch.empty(windows, dtype=torch.uint8) if graph else None,
        convolved=like.new_empty(size) if keep else None,
    )
    _call("block", given, found._asdict() | {"values": values})
    return values, found


def block_gradient(
    given: Given,
    found: Found,
    gradients: Flowing,
    *,
    for_x: bool,
    for_weights: bool,
) -> Gradients:
    """Return the gradients of ``block``.

    Args:
        given: as given to ``block``.
        found: what it returned.
        gradients: see there.
        for_x: whether that of x is wanted.
        for_weights: whether those of all else are wanted.
    """
    result = _empty(given, for_x=for_x, for_weights=for_weights)
    _call("block_gradient", given, found._asdict() | _flowing(gradients) | result.tensors("to"))
    return result


class Again(NamedTuple):
    """What ``block_second`` gives: gradients with respect to what ``block_gradient`` is given.

    Attributes:
        given: x, weight, bias and scale; shift has none.
        values: of the gradient of values.
        mean: likewise.
        variance: likewise.
    """

    given: Gradients
    values: Tensor
    mean: Tensor | None
    variance: Tensor | None


def block_second(
    given: Given,
    found: Found,
    gradients: Flowing,
    along: Gradients,
    *,
    for_x: bool,
) -> Again:
    """Return the gradient of ``block_gradient``.

    Args:
        given: as given to ``block``.
        found: what it returned.
        gradients: as given to ``block_gradient``.
        along: the gradient of what that returned; None where nothing depends on it.
        for_x: whether that of x is wanted.
    """
    result = _empty(given, for_x=for_x, for_weights=True)
    to_values, to_mean, to_variance = gradients
    values = _empty_images(to_values.shape, given.x)
    mean, variance = (None if to is None else torch.empty_like(to) for to in (to_mean, to_variance))
    again = {"again_values": values, "again_mean": mean, "again_variance": variance}
    weight = None if along.weight is None else torch.empty_like(given.weight).copy_(along.weight)
    known = found._asdict() | _flowing(gradients) | along._replace(weight=weight).tensors("along")
    _call("block_second", given, known | result.tensors("to") | again)
    return Again(result._replace(shift=None), values, mean, variance)


def _empty(given: Given, *, for_x: bool, for_weights: bool) -> Gradients:
    new = [torch.empty_like(each) for each in (given.weight, given.scale, given.scale, given.scale)]
    return Gradients(_empty_images(given.x.shape, given.x) if for_x else None, *(new if for_weights else [None] * 4))


def _empty_images(shape: Sequence[int], like: Tensor) -> Tensor:
    images, channels, height, width = shape
    return like.new_empty(images, height, width, channels).permute(0, 3, 1, 2)


def _flowing(gradients: Flowing) -> dict[str, Tensor | None]:
    return dict(zip(("to_values", "to_mean", "to_variance"), gradients, strict=True))


def _call(name: str, given: Given, others: dict[str, Tensor | None]) -> None:
    """Call one kernel. A tensor is passed as its address, so its memory layout must be what the kernel expects."""
    images, channels, height, width = given.x.shape
    strides = (ctypes.c_int64 * 4)(*given.weight.stride())
    threads = torch.get_num_threads()
    arguments = _Arguments(
        images=images,
        height=height,
        width=width,
        channels=channels,
        filters=given.weight.shape[0],
        strides=strides,
        threads=threads,
        eps=given.eps,
    )
    for tensor_name, tensor in (given.tensors() | others).items():
        if tensor is not None:
            setattr(arguments, tensor_name, tensor.data_ptr())
    getattr(functions(), f"{name}_{SUFFIXES[given.x.dtype]}")(ctypes.byref(arguments))
