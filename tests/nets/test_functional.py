"""Networks called with weights that are not their own."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from purer_lightning.nets import NetworkSpec
from purer_lightning.nets import functional as nets


@pytest.fixture(params=["conv4", "resnet10"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return NetworkSpec(request.param, 3, 3, 16, {"width": 4}).build(running_statistics=True).eval()


def others(network: nn.Module) -> dict[str, Tensor]:
    kept = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    return {name: (value + 0.1).requires_grad_() for name, value in kept.items()}


def test_a_call_with_weights_is_pytorchs(network: nn.Module) -> None:
    weights, images = others(network), torch.randn(2, 3, 16, 16)
    ours, theirs = nets.logits(network, weights, images), functional_call(network, weights, (images,))
    assert torch.equal(ours, theirs)
    for one, other in zip(
        *(torch.autograd.grad(each.sum(), list(weights.values())) for each in (ours, theirs)), strict=True
    ):
        assert torch.equal(one, other)


def test_features_are_those_of_the_given_weights(network: nn.Module) -> None:
    weights, images = others(network), torch.randn(2, 3, 16, 16)
    found = nets.features(network, weights, images)
    network.load_state_dict(weights, strict=False)
    torch.testing.assert_close(found, network.features(images))  # type: ignore[operator]


def test_the_network_has_its_own_weights_again_even_after_an_error(network: nn.Module) -> None:
    own = {name: value.clone() for name, value in network.state_dict().items()}
    parameters = [id(parameter) for parameter in network.parameters()]
    nets.logits(network, others(network), torch.randn(2, 3, 16, 16))
    with pytest.raises(RuntimeError):
        nets.logits(network, others(network), torch.randn(2, 5, 16, 16))
    assert [id(parameter) for parameter in network.parameters()] == parameters
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())


def test_a_name_that_the_network_does_not_have_is_an_error(network: nn.Module) -> None:
    with pytest.raises(KeyError, match="nothing"):
        nets.logits(network, {"head.nothing": torch.ones(3)}, torch.randn(2, 3, 16, 16))
