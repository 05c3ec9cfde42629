"""A fused block computes what the plain one does, and so do its derivatives of first and second order."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from purer_lightning.compute.backend import PLAIN, Backend
from purer_lightning.engine.blocks import FusedBlock
from purer_lightning.engine.choice import compiled
from purer_lightning.engine.compilation import library
from purer_lightning.engine.derivatives import pooled_block
from purer_lightning.nets import NetworkSpec
from purer_lightning.nets.functional import Weights
from purer_lightning.nets.statistics import Statistics

pytestmark = pytest.mark.skipif(library().functions is None, reason="needs a C++ compiler")


def assert_same(ours: object, theirs: object) -> None:
    """Equal but for the rounding of float64."""
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def network(
    size: int = 16, *, running: bool, dtype: torch.dtype = torch.float64, channels: int = 3, width: int = 5
) -> nn.Module:
    """Return a narrow Conv4 whose BatchNorm has scales of both signs and statistics that are no round numbers."""
    torch.manual_seed(0)
    made = NetworkSpec("conv4", 3, channels, size, {"width": width}).build(running_statistics=running).to(dtype)
    with torch.no_grad():
        for name, value in [*made.named_parameters(), *made.named_buffers()]:
            if value.is_floating_point() and ".1." in name:
                value.add_(0.5 * torch.rand_like(value) - (1.2 if name.endswith("0.1.weight") else 0.0))
                value.abs_() if "var" in name else None
    return made


def images(count: int = 6, size: int = 16, dtype: torch.dtype = torch.float64, channels: int = 3) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(count, channels, size, size, generator=rng, dtype=dtype)


class Way(NamedTuple):
    """A network, and the backend that calls it."""

    network: nn.Module
    backend: Backend

    def __call__(self, given: Tensor, weights: Weights | None = None) -> Tensor:
        return self.backend.run(self.network, weights or {}, given).logits

    def statistics(self, given: Tensor) -> tuple[Tensor, Statistics]:
        output = self.backend.run(self.network, {}, given, statistics=True)
        return output.logits, output.statistics

    def parameters(self) -> list[Tensor]:
        return list(self.network.parameters())


def ways(plain: nn.Module) -> tuple[Way, Way]:
    """Return a network called plainly, and another of the same weights called through fused blocks."""
    return Way(plain, PLAIN), Way(copy.deepcopy(plain), compiled())


def both(size: int = 16, **kinds: bool) -> tuple[Way, Way]:
    return ways(network(size, running=kinds.get("running", False)).train(kinds.get("training", False)))


def loss_of(made: Way, given: Tensor, *, statistics: bool) -> Tensor:
    """Return a loss that reaches logits and, if asked for, every layer's statistics."""
    logits, found = made.statistics(given)
    loss = F.cross_entropy(logits, torch.arange(len(given)) % 3)
    if statistics:
        loss = loss + sum(
            (mean.norm() + (variance - 1).norm() for mean, variance in found.values()), given.new_zeros(())
        )
    return loss


def gradients(loss: Tensor, inputs: Sequence[Tensor], *, again: bool = False) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, list(inputs), create_graph=again)


CASES = [
    {"running": running, "training": training, "statistics": statistics, "size": size}
    for running, training in ((True, False), (True, True), (False, False))
    for statistics in (False, True)
    for size in (16, 21)
]


@pytest.fixture(params=CASES, ids=lambda case: "-".join(str(value) for value in case.values()))
def case(request: pytest.FixtureRequest) -> Iterator[tuple[Way, Way, Tensor, bool]]:
    kinds = dict(request.param)
    size, statistics = int(kinds.pop("size")), bool(kinds.pop("statistics"))
    plain, fused = both(size, **kinds)
    yield plain, fused, images(size=size), statistics


def test_loss_and_first_derivatives_agree(case: tuple[Way, Way, Tensor, bool]) -> None:
    plain, fused, given, statistics = case
    found = []
    for made in (plain, fused):
        leaf = given.clone().requires_grad_()
        loss = loss_of(made, leaf, statistics=statistics)
        found.append((loss, *gradients(loss, [leaf, *made.parameters()])))
    assert_same(found[1], found[0])


def test_second_derivatives_agree(case: tuple[Way, Way, Tensor, bool]) -> None:
    plain, fused, given, statistics = case
    found = []
    for made in (plain, fused):
        leaf = given.clone().requires_grad_()
        first = gradients(loss_of(made, leaf, statistics=statistics), [leaf, *made.parameters()], again=True)
        penalty = torch.stack([each.square().sum() for each in first]).sum()
        found.append(gradients(penalty, [leaf, *made.parameters()]))
    assert_same(found[1], found[0])


def test_the_networks_under_test_are_fused_and_reach_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[FusedBlock] = []
    forward = FusedBlock.forward

    def counted(block: FusedBlock, given: Tensor) -> Tensor:
        calls.append(block)
        return forward(block, given)

    monkeypatch.setattr(FusedBlock, "forward", counted)
    monkeypatch.setattr(FusedBlock, "_plain", lambda *_: pytest.fail("took the plain path"))
    plain, fused = both(running=True)
    plain(images())
    assert not calls
    fused(images())
    assert len(calls) == 4
    assert not any(isinstance(module, FusedBlock) for module in fused.network.modules())


def test_training_moves_the_running_statistics_alike() -> None:
    plain, fused = both(running=True, training=True)
    for momentum in (0.1, None):
        for made in (plain, fused):
            for module in made.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.momentum = momentum
            made(images())
    assert_same(dict(fused.network.named_buffers()), dict(plain.network.named_buffers()))


def test_statistics_that_are_learnt_are_differentiated_through() -> None:
    plain, fused = both(running=True)
    found = []
    for made in (plain, fused):
        scale = torch.ones((), dtype=torch.float64, requires_grad=True)
        learnt = {name: value * scale for name, value in made.network.named_buffers() if "running" in name}
        found.append(gradients(made(images(), learnt).square().sum(), [scale])[0])
    assert_same(found[1], found[0])


def test_the_first_of_equal_pixels_gets_the_gradient() -> None:
    rng = torch.Generator().manual_seed(2)
    whole = torch.randint(-2, 3, (4, 3, 8, 8), generator=rng).double().contiguous(memory_format=torch.channels_last)
    one, zero = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    unit = torch.zeros(3, 3, 3, 3, dtype=torch.float64)
    unit[range(3), range(3), 1, 1] = 1
    found = []
    ways: list[Callable[[Tensor], Tensor]] = [
        lambda x: F.max_pool2d(F.relu(x), 2),
        lambda x: pooled_block(x, unit, None, one, zero, 0.0, (zero, one), report=False)[0],
    ]
    for pooled in ways:
        leaf = whole.clone().requires_grad_()
        found.append(gradients(pooled(leaf).square().sum(), [leaf])[0])
    assert (found[0] != 0).any()
    assert torch.equal(*found)


def test_a_value_that_is_no_number_stays_one() -> None:
    plain, fused = both(running=True)
    for place in ((0, 0), (0, 1), (1, 0), (1, 1)):
        broken = images()
        broken[0, 0, place[0], place[1]] = torch.nan
        assert torch.equal(fused(broken).isnan(), plain(broken).isnan())


def test_the_number_of_threads_changes_no_bit() -> None:
    made = ways(network(running=False, dtype=torch.float32))[1]
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        leaf = images(dtype=torch.float32).requires_grad_()
        logits, statistics = made.statistics(leaf)
        found.append((logits, *gradients(logits.square().sum() + statistics["blocks.0.1"][1].sum(), [leaf])))
    torch.set_num_threads(1)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("size", "width"), [(16, 8), (21, 16), (16, 6)])  # the last fills no vector
def test_gradients_of_images_of_few_channels_agree(channels: int, size: int, width: int) -> None:
    found = []
    for made in ways(network(size, running=True, channels=channels, width=width)):
        leaf = images(size=size, channels=channels).requires_grad_()
        once = gradients(loss_of(made, leaf, statistics=True), [leaf, *made.parameters()])
        first = gradients(loss_of(made, leaf, statistics=True), [leaf, *made.parameters()], again=True)
        found.append((*once, *first, *gradients(first[0].square().sum(), [leaf])))
    assert_same(found[1], found[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_types_take_the_plain_path(dtype: torch.dtype) -> None:
    plain, fused = ways(network(running=True).to(dtype).eval())
    assert torch.equal(plain(images().to(dtype)), fused(images().to(dtype)))


@pytest.mark.parametrize("channels", [1, 5])
def test_images_of_other_channels_are_refused_as_by_the_plain_block(channels: int) -> None:
    fused = ways(network(16, running=True, channels=3, width=8))[1]
    with pytest.raises(RuntimeError, match=f"3 channels, but got {channels} channels"):
        fused(images(size=16, channels=channels))


def test_a_resnet_has_no_block_to_fuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FusedBlock, "forward", lambda *_: pytest.fail("a block was fused"))
    made = NetworkSpec("resnet10", 3, 3, 16, {"width": 4}).build(running_statistics=True).double().eval()
    plain, fused = ways(made)
    assert torch.equal(plain(images()), fused(images()))
