"""A call with weights changes no network: threads may share one, and the next call sees whatever happens to it."""

import copy
import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from purer_lightning.compute.backend import PLAIN, Backend
from purer_lightning.engine.choice import compiled
from purer_lightning.nets import ARCHITECTURES, NetworkSpec
from purer_lightning.nets.functional import Weights, run

BACKENDS = {"plain": lambda: PLAIN, "compiled": compiled}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param]()


def build(architecture: str = "conv4", **fields: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        spec = NetworkSpec(architecture, 3, 3, 16, {"width": 4})
        return spec.build(**{"running_statistics": True, **fields}).eval()


def pictures() -> Tensor:
    return torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def others(network: nn.Module, seed: int) -> Weights:
    rng = torch.Generator().manual_seed(seed)
    return {name: torch.randn(value.shape, generator=rng) for name, value in network.named_parameters()}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_eight_threads_with_weights_of_their_own_get_what_one_gets(architecture: str, backend: Backend) -> None:
    network = build(architecture, running_statistics=False)
    each = [others(network, seed) for seed in range(24)]

    def answer(weights: Weights) -> tuple[Tensor, Tensor]:
        output = backend.run(network, weights, pictures(), statistics=True)
        return output.logits, torch.cat([mean for mean, _ in output.statistics.values()])

    alone = [answer(weights) for weights in each]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(answer, each))
    for one, other in zip(together, alone, strict=True):
        assert all(map(torch.equal, one, other))


def test_the_network_stays_as_it_is(backend: Backend) -> None:
    network = build()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    kinds, attributes = [type(module) for module in network.modules()], [set(vars(m)) for m in network.modules()]
    backend.run(network, others(network, 0), pictures(), statistics=True, training=True)
    assert [type(module) for module in network.modules()] == kinds
    assert [set(vars(module)) for module in network.modules()] == attributes
    assert not any(module._forward_pre_hooks or module.training for module in network.modules())
    weights = {name: value for name, value in before.items() if "running" not in name and "tracked" not in name}
    torch.testing.assert_close(dict(network.named_parameters()), weights, rtol=0, atol=0)


def test_gradients_reach_the_networks_own_weights_and_those_given(backend: Backend) -> None:
    network = build()
    given = {"head.weight": torch.ones(3, 4, requires_grad=True)}
    inputs = [given["head.weight"], *(value for name, value in network.named_parameters() if name != "head.weight")]
    found = []
    for logits in (backend.run(network, given, pictures()).logits, functional_call(network, given, (pictures(),))):
        found.append(torch.autograd.grad(F.cross_entropy(logits, torch.arange(6) % 3), inputs))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


CHANGES: dict[str, Callable[[nn.Module], object]] = {
    "weights moved in place": lambda network: nn.init.ones_(network.head.weight),  # type: ignore[union-attr,arg-type]
    "another type": lambda network: network.double().float(),
    "another mode": lambda network: network.train(),
    "another layer": lambda network: setattr(network, "head", nn.Linear(4, 7)),
    "another parameter": lambda network: setattr(network.head, "bias", nn.Parameter(torch.ones(3))),
    "a parameter less": lambda network: network.head.register_parameter("bias", None),  # type: ignore[union-attr]
    "another attribute": lambda network: setattr(network.blocks[0][1], "eps", 1.0),  # type: ignore[index]
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_happens_to_a_network_is_seen_by_the_next_call(change: Callable[[nn.Module], object]) -> None:
    network = build()
    run(network, {}, pictures())
    change(network)
    expected = copy.deepcopy(network)(pictures())
    assert torch.equal(run(network, {}, pictures()).logits, expected)


def test_a_network_in_training_moves_its_own_statistics(backend: Backend) -> None:
    network, alone = build().train(), build().train()
    backend.run(network, {}, pictures())
    alone(pictures())
    torch.testing.assert_close(dict(network.named_buffers()), dict(alone.named_buffers()))


def test_a_network_that_nobody_uses_is_forgotten_and_no_graph_is_kept() -> None:
    network, weight = build(), 2 * torch.ones(3, 4, requires_grad=True)
    run(network, {"head.weight": weight}, pictures())
    kept = weakref.ref(network), weakref.ref(weight)
    del network, weight
    gc.collect()
    assert [each() for each in kept] == [None, None]


class Twice(nn.Module):
    """Has one layer in two places, and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        self.shown = images
        return self.second(self.first(images))  # type: ignore[no-any-return]


def test_a_layer_in_two_places_takes_its_weights_in_both_and_nothing_is_kept_of_a_call() -> None:
    network = Twice()
    weights = {"first.weight": 3 * torch.eye(2), "first.bias": torch.zeros(2)}
    output = run(network, weights, torch.ones(1, 2))
    assert torch.equal(output.logits, torch.full((1, 2), 9.0))
    assert output.features is None
    assert not hasattr(network, "shown")


def test_weights_of_another_name_are_refused() -> None:
    with pytest.raises(KeyError, match=r"head\.nothing"):
        run(build(), {"head.nothing": torch.ones(3)}, pictures())


def test_a_network_that_remembers_nothing_normalises_by_the_statistics_that_a_call_lends_it(backend: Backend) -> None:
    network, remembering = build(running_statistics=False), build()
    lent = {name: value + 0.5 for name, value in remembering.named_buffers() if "running" in name}
    remembering.load_state_dict(lent, strict=False)
    for training in (False, True):
        logits = backend.run(network, lent, pictures(), training=training).logits
        torch.testing.assert_close(logits, remembering(pictures()))
