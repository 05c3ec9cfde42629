"""Total variation by the kernels is the plain one, with its derivatives."""

import pytest
import torch

from purer_lightning.engine.compilation import library
from purer_lightning.engine.variation import fused_variation
from purer_lightning.inversion.priors import total_variation

pytestmark = pytest.mark.skipif(library().functions is None, reason="needs a C++ compiler")


@pytest.mark.parametrize("shape", [(3, 2, 7, 5), (1, 1, 1, 4), (2, 3, 4, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_value_and_gradient_agree(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    given = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout)
    found = []
    for function in (total_variation, fused_variation):
        leaf = given.clone().requires_grad_()
        value = function(leaf)
        found.append((value, *torch.autograd.grad(3 * value, leaf)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)


def test_images_without_differences_have_gradient_zero() -> None:
    leaf = torch.ones(2, 3, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(fused_variation(leaf), leaf)
    assert torch.equal(gradient, torch.zeros_like(leaf))


def test_the_second_derivative_agrees() -> None:
    leaf = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    found = []
    for function in (total_variation, fused_variation):
        (first,) = torch.autograd.grad(function(leaf), leaf, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), leaf))
    torch.testing.assert_close(found[1], found[0])
