"""BatchNorm, ReLU and 2x2 max-pooling as one function, and its derivatives of every order."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from purer_lightning.engine import kernels


class Block(torch.autograd.Function):
    """BatchNorm by given statistics or the batch's own, ReLU and pooling; and the batch's statistics.

    x lies with the channels last: a copy made here would have no graph. Given statistics are constants.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        given: tuple[Tensor, Tensor] | None,
        report: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the pooled values, mean and biased variance; the last two None where nobody needs them."""
        weight, bias = weight.contiguous(), bias.contiguous()
        pooled = kernels.block(x, weight, bias, eps, given, report=report)
        ctx.save_for_backward(x, weight, bias, *pooled[2:])
        ctx.place, ctx.eps, ctx.given = pooled.place, eps, given
        ctx.set_materialize_grads(False)
        return pooled.values, pooled.mean, pooled.variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        """Return the gradients with respect to x, weight and bias."""
        x, weight, bias, mean, variance = ctx.saved_tensors
        if torch.is_grad_enabled():  # of a derivative that is to be differentiated again
            plain = partial(_normalised, eps=ctx.eps, given=ctx.given)
            return *_differentiable(plain, (x, weight, bias), ctx.place, gradients), None, None, None
        shape = (x.shape[0], x.shape[2] // 2, x.shape[3] // 2, x.shape[1])
        to_values, to_mean, to_variance = gradients
        found = kernels.block_gradient(
            x,
            weight,
            ctx.eps,
            ctx.given,
            (ctx.place, mean, variance),
            (x.new_zeros(shape).permute(0, 3, 1, 2) if to_values is None else to_values, to_mean, to_variance),
            for_x=ctx.needs_input_grad[0],
            for_weights=ctx.needs_input_grad[1] or ctx.needs_input_grad[2],
        )
        return *found, None, None, None


class Moments(torch.autograd.Function):
    """Mean and biased variance by channel; can be differentiated to any order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return both, each (C,)."""
        mean, variance = kernels.statistics(x)
        ctx.save_for_backward(x, mean)
        return mean, variance

    @staticmethod
    def backward(ctx: Any, to_mean: Tensor, to_variance: Tensor) -> Tensor:
        """Return one affine map of x a channel."""
        x, mean = ctx.saved_tensors
        count = x.numel() // x.shape[1]
        slope = to_variance * (2 / count)
        offset = to_mean / count - slope * mean
        return torch.addcmul(offset.view(-1, 1, 1), x, slope.view(-1, 1, 1))


class Chosen(torch.autograd.Function):
    """The pixels that the pooled values came from; linear, so that its derivative is its transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, place: Tensor) -> Tensor:
        """Return (N, C, H // 2, W // 2)."""
        ctx.place, ctx.shape = place, x.shape
        return kernels.chosen(x, place)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Put the gradient where the pixels are."""
        scattered: Tensor = Scattered.apply(gradient, ctx.place, ctx.shape)  # type: ignore[no-untyped-call]
        return scattered, None


class Scattered(torch.autograd.Function):
    """The transpose of ``Chosen``."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, place: Tensor, shape: torch.Size) -> Tensor:
        """Return (N, C, H, W)."""
        ctx.place = place
        return kernels.scattered(gradient, place, shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Take the pixels."""
        lying = gradient.contiguous(memory_format=torch.channels_last)
        chosen: Tensor = Chosen.apply(lying, ctx.place)  # type: ignore[no-untyped-call]
        return chosen, None, None


def _normalised(
    x: Tensor, weight: Tensor, bias: Tensor, place: Tensor, *, eps: float, given: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """``Block`` in operations that autograd knows, once it is settled which pixels are chosen."""
    own = Moments.apply(x)  # type: ignore[no-untyped-call]
    mean, variance = given or own
    scale = weight * (variance + eps).rsqrt()
    return _pooled(x, scale, bias - mean * scale, place), *own


def _pooled(x: Tensor, scale: Tensor, shift: Tensor, place: Tensor) -> Tensor:
    chosen = Chosen.apply(x, place)  # type: ignore[no-untyped-call]
    let_pass = place.view(chosen.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2) != kernels.PASSED_NOTHING
    return torch.where(let_pass, chosen * scale.view(-1, 1, 1) + shift.view(-1, 1, 1), 0.0)


def _differentiable(
    function: Any, inputs: tuple[Tensor, ...], place: Tensor, gradients: tuple[Tensor | None, ...]
) -> list[Any]:
    """Return the gradients of a function of operations that autograd knows, with their own graph."""
    # Views, since an input may depend on another: a view's derivative is the partial one.
    inputs = tuple(value.view_as(value) for value in inputs)
    wanted = [value for value in inputs if value.requires_grad]
    given = [(output, g) for output, g in zip(function(*inputs, place), gradients, strict=True) if g is not None]
    outputs, weights = zip(*given, strict=True)
    found = iter(torch.autograd.grad(outputs, wanted, weights, create_graph=True, allow_unused=True))
    return [next(found) if value.requires_grad else None for value in inputs]
