"""A network's twin: the same memory, and nothing that a call on the one changes in the other."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from purer_lightning.engine.blocks import fuse
from purer_lightning.nets import ARCHITECTURES, NetworkSpec
from purer_lightning.nets import functional as nets
from purer_lightning.nets.functional import twin


def build(architecture: str, **fields: Any) -> nn.Module:
    torch.manual_seed(0)
    spec = NetworkSpec(architecture, 3, 3, 16, {"width": 4})
    return spec.build(**{"running_statistics": True, **fields}).eval()


def pictures() -> Tensor:
    return torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("fused", [False, True])
def test_it_answers_alike_and_its_gradients_are_the_same(architecture: str, fused: bool) -> None:
    network = fuse(build(architecture)) if fused else build(architecture)
    other = twin(network)
    assert [type(module) for module in other.modules()] == [type(module) for module in network.modules()]
    found = []
    for made in (network, other):
        loss = F.cross_entropy(made(pictures()), torch.arange(6) % 3)
        found.append(torch.autograd.grad(loss, list(made.parameters())))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_it_shares_the_memory_of_weights_and_statistics() -> None:
    network = build("conv4")
    other = twin(network)
    for (name, value), (other_name, other_value) in zip(
        network.state_dict().items(), other.state_dict().items(), strict=True
    ):
        assert name == other_name
        assert value.data_ptr() == other_value.data_ptr()
    with torch.no_grad():
        next(network.parameters()).add_(1)
    assert torch.equal(network(pictures()), other(pictures()))


def test_weights_hooks_and_types_put_upon_the_one_are_not_upon_the_other() -> None:
    network = build("conv4", running_statistics=False)
    fused = fuse(build("conv4", running_statistics=False))
    before = network(pictures())
    for made in (network, fused):
        other = twin(made)
        with nets.batchnorm_statistics(other) as found:
            made(pictures())
            assert not found
            nets.logits(other, {name: torch.zeros_like(value) for name, value in other.named_parameters()}, pictures())
            assert len(found) == 4
        other.double().requires_grad_(False)
        assert all(p.requires_grad and p.dtype == torch.float32 for p in made.parameters())
        torch.testing.assert_close(made(pictures()), before)
