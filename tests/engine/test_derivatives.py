"""A block's derivatives against finite differences and PyTorch's own, in all its shapes."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from purer_lightning.engine import block_kernels
from purer_lightning.engine.compilation import library
from purer_lightning.engine.derivatives import pooled_block
from purer_lightning.errors import PurerError

pytestmark = pytest.mark.skipif(library().functions is None, reason="needs a C++ compiler")

EPS = 1e-3
SHAPES = [  # images, channels, filters, height, width
    (5, 1, 8, 6, 8),
    (2, 3, 5, 9, 7),
    (5, 4, 19, 4, 11),
    (9, 5, 3, 2, 3),
    (3, 6, 24, 5, 4),
]


def inputs(images: int, channels: int, filters: int, height: int, width: int) -> list[Tensor]:
    """Return images, weight and bias of the convolution, scales of both signs and shifts, all leaves."""
    rng = torch.Generator().manual_seed(3)
    shapes = ((images, channels, height, width), (filters, channels, 3, 3), (filters,), (filters,), (filters,))
    return [torch.randn(shape, generator=rng, dtype=torch.float64).requires_grad_() for shape in shapes]


def statistics(filters: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(4)
    mean, spread = torch.randn(2, filters, generator=rng, dtype=torch.float64)
    return mean, 1 + spread.square()


def fused(given: tuple[Tensor, Tensor] | None, *tensors: Tensor) -> tuple[Tensor, ...]:
    images, weight, bias, scale, shift = tensors
    found = pooled_block(images, weight, bias, scale, shift, EPS, given, report=True)
    return tuple(each for each in found if each is not None)


def plain(given: tuple[Tensor, Tensor] | None, *tensors: Tensor) -> tuple[Tensor, ...]:
    images, weight, bias, scale, shift = tensors
    x = F.conv2d(images, weight, bias, padding=1)
    mean, variance = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)
    used_mean, used_variance = given or (mean, variance)
    normalised = (x - used_mean.view(-1, 1, 1)) / (used_variance.view(-1, 1, 1) + EPS).sqrt()
    values = F.max_pool2d(F.relu(normalised * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)), 2)
    return values, mean, variance


def twice(function: object, given: tuple[Tensor, Tensor] | None, tensors: list[Tensor]) -> list[Tensor]:
    """Return outputs, gradients along a direction, and the gradients of those along another, of all inputs."""
    assert callable(function)
    rng = torch.Generator().manual_seed(5)
    outputs = function(given, *tensors)
    along = [torch.randn(each.shape, generator=rng, dtype=each.dtype).requires_grad_() for each in outputs]
    first = torch.autograd.grad(outputs, tensors, along, create_graph=True)
    again = [torch.randn(each.shape, generator=rng, dtype=each.dtype) for each in first]
    second = torch.autograd.grad(first, [*tensors, *along], again, allow_unused=True, materialize_grads=True)
    return [*outputs, *first, *second]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("kept", [True, False])
def test_both_derivatives_are_pytorchs(
    shape: tuple[int, ...], own: bool, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kept:  # then the convolution of few channels is found again
        monkeypatch.setattr(block_kernels, "LARGE", 0)
    given = None if own else statistics(shape[2])
    ours, theirs = (twice(function, given, inputs(*shape)) for function in (fused, plain))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("own", [True, False])
def test_both_derivatives_are_finite_differences(own: bool) -> None:
    tensors, given = inputs(2, 3, 5, 4, 5), None if own else statistics(5)
    assert torch.autograd.gradcheck(lambda *all_of: fused(given, *all_of), tensors)
    assert torch.autograd.gradgradcheck(lambda *all_of: fused(given, *all_of), tensors)


@pytest.mark.parametrize("constant", range(5))
def test_what_is_constant_does_not_change_the_rest(constant: int) -> None:
    found = []
    for function in (fused, plain):
        tensors = inputs(*SHAPES[1])
        tensors[constant].requires_grad_(False)
        free = [each for each in tensors if each.requires_grad]
        first = torch.autograd.grad(function(None, *tensors)[0].square().sum(), free, create_graph=True)
        penalty = torch.stack([each.square().sum() for each in first]).sum()
        found.append((*first, *torch.autograd.grad(penalty, free)))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


def test_a_convolution_without_bias_and_weights_that_lie_otherwise() -> None:
    images, weight, _, scale, shift = inputs(*SHAPES[1])
    turned = weight.detach().permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0).requires_grad_()
    found = []
    for used, bias in ((weight, torch.zeros(5, dtype=torch.float64)), (turned, None)):
        values = pooled_block(images, used, bias, scale, shift, EPS, None, report=False)[0]
        first = torch.autograd.grad(values.square().sum(), (images, used), create_graph=True)
        found.append((*first, *torch.autograd.grad(first[1].square().sum(), (images, used))))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)


def test_a_third_derivative_is_refused() -> None:
    tensors = inputs(*SHAPES[1])
    first = torch.autograd.grad(fused(None, *tensors)[0].square().sum(), tensors[0], create_graph=True)[0]
    with pytest.raises(PurerError, match="at most two derivatives"):
        torch.autograd.grad(first.square().sum(), tensors[0], create_graph=True)


def in_float32(threads: int) -> list[Tensor]:
    torch.set_num_threads(threads)
    return twice(fused, None, [each.detach().float().requires_grad_() for each in inputs(13, 3, 19, 9, 8)])


def test_the_number_of_threads_changes_no_bit_of_either_derivative() -> None:
    one, other = in_float32(1), in_float32(2)
    torch.set_num_threads(1)
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_calls_at_the_same_time_do_not_meet() -> None:
    alone = in_float32(1)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(in_float32, [1] * 8):
            assert all(torch.equal(*pair) for pair in zip(found, alone, strict=True))
