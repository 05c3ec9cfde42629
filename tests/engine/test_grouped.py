"""Networks side by side in one call compute what each computes by itself."""

import pytest
import torch
from torch import Tensor, nn

from purer_lightning.engine.grouped import Grouped, cross_entropy, stacked, structure_of
from purer_lightning.nets import NetworkSpec
from purer_lightning.nets import functional as nets

COUNT = 3


def network(seed: int, architecture: str, size: int, *, running: bool = True, classes: int = 4) -> nn.Module:
    """Return a network in evaluation mode whose BatchNorm is far from its default."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = NetworkSpec(architecture, classes, 3, size, {"width": 4}).build(running_statistics=running).double()
        for name, value in made.state_dict().items():
            if "running_" in name or value.dim() == 1:
                value.copy_(torch.rand(value.shape) + 0.5)
    return made.eval()


def images(size: int) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(COUNT, 5, 3, size, size, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("running", [True, False], ids=["remembered statistics", "the batch's"])
@pytest.mark.parametrize(
    ("architecture", "size"), [("conv4", 16), ("conv4", 32), ("resnet10", 16), ("resnet10", 84), ("resnet18", 32)]
)
def test_logits_and_statistics_are_each_networks_own(architecture: str, size: int, running: bool) -> None:
    each = [network(seed, architecture, size, running=running) for seed in range(COUNT)]
    grouped = Grouped(each[0], COUNT)
    logits = grouped.logits(stacked(each), images(size))
    found = grouped.run(stacked(each), images(size), statistics=True)[1]
    for number, alone in enumerate(each):
        expected = nets.run(alone, {}, images(size)[number], statistics=True)
        torch.testing.assert_close(logits[number], expected.logits, rtol=1e-9, atol=1e-11)
        own = {name: (mean[number], variance[number]) for name, (mean, variance) in found.items()}
        torch.testing.assert_close(own, expected.statistics, rtol=1e-9, atol=1e-11)


def test_the_network_that_lends_its_structure_stays_as_it_is_and_its_weights_are_not_copied() -> None:
    lender = network(0, "conv4", 16)
    weights = {name: value.clone() for name, value in lender.state_dict().items()}
    grouped = Grouped(lender, COUNT)
    grouped.logits(stacked([lender] * COUNT), images(16))
    assert all(module.groups == 1 for module in lender.modules() if isinstance(module, nn.Conv2d))
    assert all(torch.equal(value, weights[name]) for name, value in lender.state_dict().items())
    assert all(value.is_meta for value in grouped._structure.state_dict().values())


def test_networks_have_one_structure_where_class_and_shapes_agree() -> None:
    same = structure_of(network(0, "resnet10", 16))
    assert structure_of(network(1, "resnet10", 16)) == same
    others = [
        network(0, "resnet10", 16, classes=3),
        network(0, "resnet18", 16),
        network(0, "resnet10", 84),
        network(0, "resnet10", 16, running=False),
    ]
    assert all(structure_of(other) != same for other in others)


def test_cross_entropy_is_the_mean_over_each_networks_own_images() -> None:
    logits = torch.randn(COUNT, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    labels = torch.tensor([0, 3, 1, 1, 2])
    found = cross_entropy(logits, labels)
    for number in range(COUNT):
        wanted = -torch.stack([logits[number, row].log_softmax(0)[int(label)] for row, label in enumerate(labels)])
        torch.testing.assert_close(found[number], wanted.mean(), rtol=1e-12, atol=0)
