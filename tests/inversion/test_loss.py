"""L_EI on one network: term by term against the plain reference, and what it leaves behind on the network."""

import pytest
import torch
from torch import Tensor, nn

import reference
from purer_lightning.inversion.loss import inversion_loss
from purer_lightning.inversion.priors import InversionWeights
from purer_lightning.nets.functional import run, running_statistics

WEIGHTS = InversionWeights()
PRIORS = WEIGHTS.priors()
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def pictures() -> Tensor:
    rng = torch.Generator().manual_seed(5)
    return torch.randn(len(LABELS), 3, 16, 16, dtype=torch.float64, generator=rng).requires_grad_()


def without_batchnorm() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3)).double().requires_grad_(False)


def test_defaults_are_the_released_codes_weights() -> None:
    assert (WEIGHTS.total_variation, WEIGHTS.l2, WEIGHTS.feature) == (1e-4, 1e-5, 0.01)


def test_each_term_equals_the_reference() -> None:
    network = reference.make_network(0, 3, remembers=True)
    images = pictures()
    terms = inversion_loss(network, {}, images, LABELS, running_statistics(network), PRIORS)
    parameters, remembered = reference.parameters_of(network), reference.remembered_by(network)
    _, seen = reference.conv4_features(parameters, images, remembered)
    wanted = {
        "total": reference.inversion_loss(reference.PlainTeacher(parameters, remembered, [0, 1, 2]), images, LABELS),
        "class": reference.cross_entropy(reference.conv4(parameters, images, remembered), LABELS),
        "feature": reference.feature_distance(seen, remembered),
        "total_variation": reference.total_variation(images),
        "l2": reference.norm(images),
    }
    for name, value in wanted.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-12, atol=0)


def test_the_total_weighs_each_prior_by_its_own_weight() -> None:
    network = reference.make_network(0, 3, remembers=True)
    priors = InversionWeights(total_variation=2.0, l2=3.0, feature=5.0).priors()
    terms = inversion_loss(network, {}, pictures(), LABELS, running_statistics(network), priors)
    wanted = terms["class"] + 2 * terms["total_variation"] + 3 * terms["l2"] + 5 * terms["feature"]
    torch.testing.assert_close(terms["total"], wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize("term", ["total", "class", "feature", "total_variation", "l2"])
def test_every_term_has_a_gradient_on_every_image(term: str) -> None:
    network = reference.make_network(0, 3, remembers=True).requires_grad_(False)
    images = pictures()
    terms = inversion_loss(network, {}, images, LABELS, running_statistics(network), PRIORS)
    (gradient,) = torch.autograd.grad(terms[term], images)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


def test_feature_term_is_zero_when_the_images_have_the_wanted_statistics() -> None:
    network = reference.make_network(0, 3, remembers=True)
    images = pictures()
    own = run(network, {}, images, statistics=True).statistics
    assert inversion_loss(network, {}, images, LABELS, own, PRIORS)["feature"].item() == 0


def test_collected_statistics_have_exact_first_and_second_derivatives() -> None:
    layer = nn.BatchNorm2d(3).double().eval()

    def collect(images: Tensor) -> tuple[Tensor, Tensor]:
        return run(nn.Sequential(layer), {}, images, statistics=True).statistics["0"]

    images = pictures().detach()[:2, :, :3, :4].contiguous().requires_grad_()
    assert torch.autograd.gradcheck(collect, (images,))
    assert torch.autograd.gradgradcheck(collect, (images,))


def test_given_weights_replace_the_networks_own() -> None:
    network, other = (reference.make_network(seed, 3, remembers=True) for seed in (0, 1))
    replaced = inversion_loss(network, dict(other.state_dict()), pictures(), LABELS, running_statistics(other), PRIORS)
    wanted = inversion_loss(other, {}, pictures(), LABELS, running_statistics(other), PRIORS)
    torch.testing.assert_close(replaced["total"], wanted["total"], rtol=1e-12, atol=0)


def test_a_network_without_batchnorm_has_no_feature_term_and_works() -> None:
    network, images = without_batchnorm(), pictures()
    terms = inversion_loss(network, {}, images, LABELS, running_statistics(network), PRIORS)
    outputs: Tensor = network(images)
    wanted = (
        reference.cross_entropy(outputs, LABELS)
        + 1e-4 * reference.total_variation(images)
        + 1e-5 * reference.norm(images)
    )
    assert terms["feature"].item() == 0
    torch.testing.assert_close(terms["total"], wanted, rtol=1e-12, atol=0)


def test_no_hook_stays_on_a_network_whose_forward_pass_fails() -> None:
    network = reference.make_network(0, 3, remembers=True)
    with pytest.raises(RuntimeError):
        inversion_loss(network, {}, torch.zeros(2, 1, 16, 16), LABELS[:2], running_statistics(network), PRIORS)
    assert all(not module._forward_pre_hooks for module in network.modules())
