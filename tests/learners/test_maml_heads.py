"""MAML where the head is special, adapted alone (ANIL) or new for each task, against the plain reference in float64."""

from typing import Literal

import pytest
import torch
from maml_tasks import LABELS, in_order, pictures, support
from torch import Tensor

import reference
from purer_lightning.errors import PurerError
from purer_lightning.evaluation.icfil import CalibrationSettings, calibrate
from purer_lightning.learners.maml import Maml, prototype_head
from purer_lightning.nets import functional as nets

Mode = Literal["transductive", "support", "running"]
WAY, OUTPUTS, LR = 3, 7, 0.05


def make_learner(batchnorm: Mode = "transductive", outputs: int | None = OUTPUTS) -> Maml:
    learner = Maml("conv4", {"width": 4}, 2, inner_lr=LR, batchnorm=batchnorm, outputs=outputs)
    learner.build(WAY, 3, 16, seed=0)
    network = reference.make_network(2, outputs or WAY, remembers=batchnorm == "running")
    learner.network.load_state_dict(network.state_dict())
    return learner.double()


def make_anil(*, first_order: bool = False, steps: int = 2) -> Maml:
    learner = Maml("conv4", {"width": 4}, steps, inner_lr=LR, first_order=first_order, adapted="head")
    learner.build(WAY, 3, 16, seed=0)
    learner.network.load_state_dict(reference.make_network(2, WAY, remembers=False).state_dict())
    return learner.double()


def written_anil(theta: list[Tensor], images: Tensor, steps: int, *, first_order: bool) -> list[Tensor]:
    """Return theta with its head moved by the cross-entropy's gradient, written out: (softmax - one-hot) features."""
    features, _ = reference.conv4_features(theta, images)
    weight, bias = theta[16:]
    for _ in range(steps):
        error = ((features @ weight.T + bias).softmax(dim=1) - torch.eye(WAY, dtype=torch.float64)[LABELS]) / len(
            LABELS
        )
        slopes = (error.T @ features, error.sum(dim=0))
        if first_order:
            slopes = (slopes[0].detach(), slopes[1].detach())
        weight, bias = weight - LR * slopes[0], bias - LR * slopes[1]
    return [*theta[:16], weight, bias]


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_adapting_the_head_alone_is_anil_with_its_meta_gradient(steps: int, first_order: bool) -> None:
    learner = make_anil(first_order=first_order, steps=steps)
    images, labels = support()
    images.requires_grad_()
    theta = reference.parameters_of(learner.network)
    wanted_fast = written_anil(theta, images, steps, first_order=first_order)
    fast = learner.adapt(learner.weights(), images, labels, second_order=learner.second_order)
    for value, other in zip(in_order(fast), wanted_fast, strict=True):
        torch.testing.assert_close(value, other, rtol=1e-10, atol=1e-13)
    loss = learner.logits(pictures(4, 1), fast).square().sum()
    wanted = reference.conv4(wanted_fast, pictures(4, 1)).square().sum()
    own = dict(learner.network.named_parameters())
    given = [] if first_order else [images]
    gradients = torch.autograd.grad(loss, [*in_order(own), *given])
    for gradient, other in zip(gradients, torch.autograd.grad(wanted, [*theta, *given]), strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("batchnorm", ["transductive", "support", "running"])
def test_a_network_of_other_classes_starts_each_task_from_a_head_of_zeros(batchnorm: Mode) -> None:
    learner, same = make_learner(batchnorm), make_learner(batchnorm, outputs=None)
    trained = {name: value.clone() for name, value in learner.network.state_dict().items()}
    assert trained["head.weight"].shape[0] == OUTPUTS
    zeros = {name: torch.zeros(WAY, *value.shape[1:]) if "head" in name else value for name, value in trained.items()}
    same.network.load_state_dict(zeros)
    wanted = same.logits(pictures(4, 1), same.adapt(same.weights(), *support()))
    for weights in (learner.weights(), learner.frozen_weights()):
        found = learner.logits(pictures(4, 1), learner.adapt(weights, *support()))
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    assert all(torch.equal(value, trained[name]) for name, value in learner.network.state_dict().items())


def test_a_network_of_other_classes_is_trained_through_its_new_heads() -> None:
    learner = make_learner()
    fast = learner.adapt(learner.weights(), *support(), second_order=True)
    torch.autograd.backward(learner.logits(pictures(4, 1), fast).square().sum())
    for name, parameter in learner.network.named_parameters():
        assert (parameter.grad is None) == name.startswith("head."), name


def test_icfil_applies_under_a_new_head_too() -> None:
    learner = make_learner()
    fast = learner.adapt(learner.frozen_weights(), *support())
    assert learner.calibratable
    found = calibrate(learner, fast, *support(), CalibrationSettings(steps=1, inversion_steps=1), seed=0, task=0)
    assert learner.logits(pictures(4, 1), found).shape == (4, WAY)
    assert not torch.equal(found["head.weight"], fast["head.weight"])


def test_a_head_without_outputs_is_refused() -> None:
    with pytest.raises(PurerError, match=r"outputs to be at least 1, or null for data\.way, but got 0"):
        Maml(outputs=0).build(WAY, 3, 16, seed=0)


@pytest.mark.parametrize("learner", [Maml("conv4", {"width": 4}), make_anil()])
def test_the_names_in_a_checkpoint_are_the_networks(learner: Maml) -> None:
    learner.build(WAY, 3, 16, seed=0)
    assert set(learner.state_dict()) == {f"network.{name}" for name in reference.PARAMETERS}


def test_the_prototype_head_ranks_classes_by_their_distance() -> None:
    features, labels = torch.randn(9, 6, dtype=torch.float64), torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 3])
    weight, bias = prototype_head(features, labels, 4)
    centroids = torch.stack([features[labels == label].mean(dim=0) for label in range(4)])
    asked = torch.randn(20, 6, dtype=torch.float64)
    distances = torch.cdist(asked, centroids).square()
    logits = asked @ weight.T + bias
    scale = centroids.square().sum(dim=1).mean()
    assert torch.allclose(logits - logits[:, :1], (distances[:, :1] - distances) / scale)


def test_a_task_of_another_number_of_classes_starts_from_prototypes_and_one_of_as_many_from_the_own_head() -> None:
    learner = Maml("conv4", {"width": 4}, inner_steps=0)
    learner.build(3, 3, 16, seed=0)
    images, labels = torch.randn(8, 3, 16, 16), torch.arange(4).repeat(2)
    weights = learner.frozen_weights()
    other = learner.for_way(4).adapt(weights, images, labels)
    expected = prototype_head(nets.features(learner.network, weights, images), labels, 4)
    assert torch.equal(other["head.weight"], expected[0])
    assert torch.equal(other["head.bias"], expected[1])
    assert torch.equal(learner.adapt(weights, images, labels % 3)["head.weight"], weights["head.weight"])
    assert learner.way == 3
