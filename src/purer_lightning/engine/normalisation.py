"""BatchNorm, ReLU and 2x2 max-pooling as one function, and its derivatives of every order."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from purer_lightning.engine import kernels


class ByRunning(torch.autograd.Function):
    """``pool(relu(x * scale + shift))`` and, where a reference for them is given, the moments of x by channel.

    As in ``ByBatch``, x lies with the channels last; a copy made here would have no graph.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, reference: Tensor | None) -> Any:
        """Return the pooled values, mean and variance, the last two None without a reference."""
        pooled, found = kernels.forward(x, scale.contiguous(), shift.contiguous(), reference)
        mean, variance = found or (None, None)
        ctx.save_for_backward(x, scale, shift, mean)
        ctx.place = pooled.place
        ctx.set_materialize_grads(False)
        return pooled.values, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        """Return the gradients with respect to x, scale and shift."""
        x, scale, shift, mean = ctx.saved_tensors
        if torch.is_grad_enabled():  # of a derivative that is to be differentiated again
            found = _differentiable(_affine, (x, scale, shift), ctx.place, gradients)
            return *found, None
        gradient = _lying(gradients[0], x)
        slope, offset = _of_statistics(gradients, mean, x)
        to_scale = to_shift = to_x = None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            to_shift, to_scale = kernels.passed(x, gradient, ctx.place, torch.zeros_like(scale))
        if ctx.needs_input_grad[0]:
            to_x = kernels.backward(x, gradient, ctx.place, scale.contiguous(), slope, offset)
        return to_x, to_scale, to_shift, None


class ByBatch(torch.autograd.Function):
    """BatchNorm by the batch's own statistics, ReLU and pooling; and these statistics."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Any:
        """Return the pooled values, mean and biased variance."""
        mean, variance = kernels.moments(x, x[:1].mean(dim=(0, 2, 3)))
        deviation = (variance + eps).rsqrt()
        scale = weight * deviation
        pooled, _ = kernels.forward(x, scale, bias - mean * scale)
        ctx.save_for_backward(x, weight, bias, mean, deviation)
        ctx.place, ctx.eps = pooled.place, eps
        ctx.set_materialize_grads(False)
        return pooled.values, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        """Return the gradients with respect to x, weight and bias."""
        x, weight, bias, mean, deviation = ctx.saved_tensors
        if torch.is_grad_enabled():
            plain = partial(_normalised, eps=ctx.eps)
            return *_differentiable(plain, (x, weight, bias), ctx.place, gradients), None
        gradient = _lying(gradients[0], x)
        slope, offset = _of_statistics(gradients, mean, x)
        to_bias, product = kernels.passed(x, gradient, ctx.place, mean)
        scale, count = weight * deviation, x.numel() // x.shape[1]
        # Ioffe & Szegedy (2015): scale * (g - mean(g) - (x - mean) * deviation^2 * mean(g * (x - mean))).
        through = -scale * deviation.square() * product / count
        slope, offset = slope + through, offset - scale * to_bias / count - through * mean
        to_x = kernels.backward(x, gradient, ctx.place, scale, slope, offset) if ctx.needs_input_grad[0] else None
        return to_x, product * deviation, to_bias, None


class Moments(torch.autograd.Function):
    """Mean and biased variance by channel; can be differentiated to any order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return both, each (C,)."""
        mean, variance = kernels.moments(x, x[:1].mean(dim=(0, 2, 3)))
        ctx.save_for_backward(x, mean)
        return mean, variance

    @staticmethod
    def backward(ctx: Any, to_mean: Tensor, to_variance: Tensor) -> Tensor:
        """Return one affine map of x a channel."""
        x, mean = ctx.saved_tensors
        slope, offset = _of_statistics((None, to_mean, to_variance), mean, x)
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


def _of_statistics(gradients: tuple[Tensor | None, ...], mean: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return slope and offset of the affine map of x that the gradients of its mean and variance send back."""
    _, to_mean, to_variance = gradients
    count, zero = x.numel() // x.shape[1], x.new_zeros(x.shape[1])
    slope = zero if to_variance is None else to_variance * (2 / count)
    offset = zero if mean is None else -slope * mean
    return slope, offset if to_mean is None else offset + to_mean / count


def _lying(gradient: Tensor | None, x: Tensor) -> Tensor:
    """Return the pooled values' gradient as the kernels want it; zeros where nothing but statistics was used."""
    if gradient is None:
        images, channels, height, width = x.shape
        return x.new_zeros(images, height // 2, width // 2, channels)
    return gradient.contiguous(memory_format=torch.channels_last)


def _affine(x: Tensor, scale: Tensor, shift: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``ByRunning`` in operations that autograd knows, once it is settled which pixels are chosen."""
    mean, variance = Moments.apply(x)  # type: ignore[no-untyped-call]
    return _pooled(x, scale, shift, place), mean, variance


def _normalised(x: Tensor, weight: Tensor, bias: Tensor, place: Tensor, *, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """``ByBatch`` in operations that autograd knows."""
    mean, variance = Moments.apply(x)  # type: ignore[no-untyped-call]
    scale = weight * (variance + eps).rsqrt()
    return _pooled(x, scale, bias - mean * scale, place), mean, variance


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
