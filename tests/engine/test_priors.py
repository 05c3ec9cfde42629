"""Total variation and l2 norm by the kernels are the plain ones, with their derivatives."""

import pytest
import torch
from torch import Tensor

from purer_lightning.engine.compilation import library
from purer_lightning.engine.priors import fused_pixel_norms
from purer_lightning.inversion.priors import total_variation

pytestmark = pytest.mark.skipif(library().functions is None, reason="needs a C++ compiler")


def plain(images: Tensor) -> tuple[Tensor, Tensor]:
    return total_variation(images), images.norm()


@pytest.mark.parametrize(
    "shape", [(3, 2, 7, 5), (2, 3, 32, 32), (2, 4, 3, 2), (1, 1, 1, 4), (2, 3, 4, 1), (1, 3, 1, 3), (1, 1, 1, 1)]
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_agree(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    given = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout)
    for weights in ((3.0, 0.0), (0.0, 2.0), (3.0, 2.0)):
        found = []
        for function in (plain, fused_pixel_norms):
            leaf = given.clone().requires_grad_()
            variation, l2 = function(leaf)
            found.append((variation, l2, *torch.autograd.grad(weights[0] * variation + weights[1] * l2, leaf)))
        torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)


def test_a_gradient_lies_as_the_images_do() -> None:
    for layout in (torch.contiguous_format, torch.channels_last):
        leaf = torch.randn(2, 3, 5, 4).contiguous(memory_format=layout).requires_grad_()
        (gradient,) = torch.autograd.grad(fused_pixel_norms(leaf)[0], leaf)
        assert gradient.stride() == leaf.stride()


def test_a_view_that_lies_otherwise_is_read_as_it_is() -> None:
    given = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    for view in (given.transpose(2, 3), given[:, :, ::2], given.expand(2, 3, 6, 8)[:1]):
        torch.testing.assert_close(fused_pixel_norms(view), plain(view), rtol=1e-12, atol=1e-12)


def test_images_without_differences_have_gradient_zero() -> None:
    for value in (1.0, 0.0):
        leaf = torch.full((2, 3, 4, 4), value, requires_grad=True)
        (gradient,) = torch.autograd.grad(fused_pixel_norms(leaf)[0], leaf)
        assert torch.equal(gradient, torch.zeros_like(leaf))
    (gradient,) = torch.autograd.grad(fused_pixel_norms(leaf)[1], leaf)
    assert torch.equal(gradient, torch.zeros_like(leaf))


def test_the_second_derivative_agrees() -> None:
    leaf = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    found = []
    for function in (plain, fused_pixel_norms):
        variation, l2 = function(leaf)
        (first,) = torch.autograd.grad(variation + 2 * l2, leaf, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), leaf))
    torch.testing.assert_close(found[1], found[0])


def test_the_number_of_threads_changes_no_bit() -> None:
    leaf = torch.randn(7, 3, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        variation, l2 = fused_pixel_norms(leaf)
        found.append((variation, l2, *torch.autograd.grad(variation + l2, leaf)))
    torch.set_num_threads(1)
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)
