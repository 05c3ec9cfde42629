"""Convolution, BatchNorm, ReLU and 2x2 max-pooling as one function, with its first and second derivatives."""

from typing import Any

import torch
from torch import Tensor

from purer_lightning.engine.block_kernels import Found, Given, Gradients, block, block_gradient, block_second
from purer_lightning.errors import PurerError

Statistics = tuple[Tensor, Tensor]


def pooled_block(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    eps: float,
    given: Statistics | None,
    *,
    report: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the pooled values (N, F, H // 2, W // 2), and the batch's mean and biased variance (F,).

    The last two are None where nobody needs them. Where a pooling or a ReLU has its kink, the gradient is PyTorch's.

    Args:
        x: images, (N, C, H, W).
        weight: of the convolution, (F, C, 3, 3).
        bias: likewise, (F,), or None.
        scale: of BatchNorm, (F,).
        shift: likewise.
        eps: likewise.
        given: mean and variance to normalise by, constants; None: the batch's own.
        report: return the batch's statistics also where others normalise.

    Raises:
        PurerError: while differentiating, where the second derivative is to be differentiated again.
    """
    dense = weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last)
    mean, variance = given or (None, None)
    result: tuple[Tensor, Tensor | None, Tensor | None] = _Block.apply(  # type: ignore[no-untyped-call]
        _lying(x),
        weight if dense else weight.contiguous(),
        None if bias is None else bias.contiguous(),
        scale.contiguous(),
        shift.contiguous(),
        mean,
        variance,
        eps,
        report,
        torch.is_grad_enabled(),
    )
    return result


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
        *given, report, graph = arguments
        values, found = block(Given(*given), report=report, graph=graph and any(ctx.needs_input_grad))
        ctx.save_for_backward(*given[:7], *found)
        ctx.eps = given[7]
        ctx.set_materialize_grads(False)
        return values, found.mean, found.variance

    @staticmethod
    def backward(ctx: Any, to_values: Tensor | None, *to_statistics: Tensor | None) -> Any:
        saved = ctx.saved_tensors
        given, found = Given(*(*saved[:7], ctx.eps)), Found(*saved[7:])
        to_mean, to_variance = (None if each is None else each.contiguous() for each in to_statistics)
        flowing = _zeros(given) if to_values is None else _lying(to_values), to_mean, to_variance
        wanted = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1:5])
        if torch.is_grad_enabled():  # of a derivative that is to be differentiated again
            gradients = _Gradient.apply(*given[:5], *flowing, given, found, wanted)  # type: ignore[no-untyped-call]
        else:
            gradients = block_gradient(given, found, flowing, for_x=wanted[0], for_weights=wanted[1])
        needed = zip(gradients, ctx.needs_input_grad, strict=False)
        return *(each if is_needed else None for each, is_needed in needed), *[None] * 5


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Gradients:
        *tensors, given, found, wanted = arguments
        ctx.save_for_backward(*tensors)
        ctx.constants, ctx.found = given[5:], found
        ctx.set_materialize_grads(False)
        to_values, to_mean, to_variance = tensors[5:]
        return block_gradient(given, found, (to_values, to_mean, to_variance), for_x=wanted[0], for_weights=wanted[1])

    @staticmethod
    def backward(ctx: Any, to_x: Tensor | None, *to_others: Tensor | None) -> Any:
        if torch.is_grad_enabled():
            raise PurerError(
                "Expected at most two derivatives of a network's blocks, but a graph for a third is asked for; set "
                "engine.choice to plain, or create_graph to False where the second is taken."
            )
        saved = ctx.saved_tensors
        given, flowing = Given(*saved[:5], *ctx.constants), saved[5:]
        along = Gradients(
            None if to_x is None else _lying(to_x), *(None if each is None else each.contiguous() for each in to_others)
        )
        again = block_second(given, ctx.found, flowing, along, for_x=ctx.needs_input_grad[0])
        gradients = (*again.given, again.values, again.mean, again.variance)
        needed = zip(gradients, ctx.needs_input_grad, strict=False)
        return *(each if is_needed else None for each, is_needed in needed), *[None] * 3


def _zeros(given: Given) -> Tensor:
    images, _, height, width = given.x.shape
    return _lying(given.x.new_zeros(images, given.weight.shape[0], height // 2, width // 2))


def _lying(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)
