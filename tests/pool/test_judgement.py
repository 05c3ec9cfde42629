"""All teachers' logits of any image: BatchNorm folded, images in chunks, and still what the teachers say."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from purer_lightning.nets import NetworkSpec
from purer_lightning.pool.ensemble import CHUNK, Judges, by_teacher, centred, spread

SIZES = [3, 5]


def make_networks(architecture: str) -> list[nn.Module]:
    """Return frozen float64 teachers whose every parameter and buffer is far from its default."""
    networks = []
    for number, classes in enumerate(SIZES):
        spec = NetworkSpec(architecture, classes, 3, 16, {"width": 4})
        network = spec.build(running_statistics=True).double().eval().requires_grad_(False)
        rng = torch.Generator().manual_seed(number)
        for value in network.state_dict().values():
            if value.is_floating_point():
                drawn = 0.3 * torch.randn(value.shape, generator=rng, dtype=value.dtype)
                value.copy_(drawn if value.ndim > 1 else drawn.abs() + 0.5)  # variances and scales are positive
        networks.append(network)
    return networks


def pictures(count: int) -> Tensor:
    return torch.randn(count, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(9))


def plain(networks: list[nn.Module], images: Tensor) -> Tensor:
    return torch.cat([network(images) for network in networks], dim=1)


@pytest.mark.parametrize("count", [1, CHUNK, CHUNK + 1])
@pytest.mark.parametrize("architecture", ["conv4", "resnet10"])
def test_the_judges_say_what_the_teachers_say_however_many_images_there_are(architecture: str, count: int) -> None:
    networks, images = make_networks(architecture), pictures(count)
    found = Judges(networks)(images)
    assert found.shape == (count, sum(SIZES))
    torch.testing.assert_close(found, plain(networks, images), rtol=0, atol=1e-10)


@pytest.mark.parametrize("architecture", ["conv4", "resnet10"])
def test_no_batchnorm_is_left_in_a_judge(architecture: str) -> None:
    for network in Judges(make_networks(architecture)).networks:
        assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_a_judge_ignores_the_other_images_of_its_batch() -> None:
    judges, images = Judges(make_networks("conv4")), pictures(5)
    torch.testing.assert_close(judges(images)[2:3], judges(images[2:3]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("architecture", ["conv4", "resnet10"])
def test_the_teachers_stay_as_they_are(architecture: str) -> None:
    networks = make_networks(architecture)
    before = copy.deepcopy(networks)
    judges = Judges(networks).to(pictures(1))
    torch.autograd.backward(judges(pictures(2).requires_grad_()).sum())
    for network, old in zip(networks, before, strict=True):
        assert str(network) == str(old)
        for (name, value), other in zip(network.state_dict().items(), old.state_dict().values(), strict=True):
            assert torch.equal(value, other), name
            assert value.stride() == other.stride(), name


def test_a_teacher_in_training_mode_is_judged_by_what_it_remembers_and_left_in_that_mode() -> None:
    networks, images = make_networks("conv4"), pictures(4)
    wanted = plain(networks, images)
    networks[0].train()
    torch.testing.assert_close(Judges(networks)(images), wanted, rtol=0, atol=1e-10)
    assert all(module.training for module in networks[0].modules())


@pytest.mark.parametrize("architecture", ["conv4", "resnet10"])
def test_the_gradient_reaches_the_images_as_through_the_teachers_and_nothing_else(architecture: str) -> None:
    networks, images = make_networks(architecture), pictures(3).requires_grad_()
    direction = torch.randn(3, sum(SIZES), dtype=torch.float64)
    judges = Judges(networks)
    (found,) = torch.autograd.grad((judges(images) * direction).sum(), images)
    (wanted,) = torch.autograd.grad((plain(networks, images) * direction).sum(), images)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    assert not any(p.requires_grad for network in judges.networks for p in network.parameters())


def test_the_order_of_teachers_is_the_order_of_outputs() -> None:
    networks, images = make_networks("conv4"), pictures(2)
    judges, turned = Judges(networks), Judges(networks[::-1])
    assert (judges.sizes, turned.sizes) == (SIZES, SIZES[::-1])
    first, second = by_teacher(judges(images), SIZES)
    assert torch.equal(turned(images), torch.cat([second, first], dim=1))


def test_centring_takes_each_teachers_own_mean_and_leaves_its_softmax() -> None:
    logits = torch.randn(6, 8, dtype=torch.float64) + 5
    for own, before in zip(by_teacher(centred(logits, SIZES), SIZES), by_teacher(logits, SIZES), strict=True):
        torch.testing.assert_close(own.sum(dim=1), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-12)
        torch.testing.assert_close(F.softmax(own, dim=1), F.softmax(before, dim=1))


def test_the_spread_is_each_teachers_own_standard_deviation_repeated_for_its_outputs() -> None:
    logits = torch.tensor([[1.0, 3.0, 5.0, 0.0, 20.0], [1.0, 3.0, 5.0, 0.0, 20.0]])
    # Squared deviations 4 + 0 + 4 and 100 + 100, twice each, over one less than six and four values.
    wanted = [(16 / 5) ** 0.5] * 3 + [(400 / 3) ** 0.5] * 2
    torch.testing.assert_close(spread(logits, [3, 2]), torch.tensor(wanted))
