"""MAML's inner loop and the BatchNorm modes of the learner protocol, against the plain reference in float64."""

from typing import Literal

import pytest
import torch
from maml_tasks import in_order, pictures, support
from torch import Tensor

import reference
from purer_lightning.learners.maml import Maml

Mode = Literal["transductive", "support", "running"]
MODES: tuple[Mode, ...] = ("transductive", "support", "running")
WAY, LR = 3, 0.05


def make_learner(batchnorm: Mode = "transductive", steps: int = 2, test_steps: int | None = None) -> Maml:
    learner = Maml("conv4", {"width": 4}, steps, test_steps, LR, batchnorm=batchnorm)
    learner.build(WAY, 3, 16, seed=0)
    learner.network.load_state_dict(reference.make_network(2, WAY, remembers=batchnorm == "running").state_dict())
    return learner.double().eval()


def adapted(learner: Maml) -> dict[str, Tensor]:
    return learner.adapt(learner.weights(), *support())


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_adaptation_is_that_many_steps_of_gradient_descent(steps: int) -> None:
    learner = make_learner(steps=steps)
    theta = reference.parameters_of(learner.network)
    wanted = reference.inner_loop(theta, support(), reference.Inner(LR, steps))
    for found, other in zip(in_order(adapted(learner)), wanted, strict=True):
        torch.testing.assert_close(found, other, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("training", "test_steps", "taken"),
    [(True, 4, 1), (False, 4, 4), (False, None, 1)],
    ids=["training", "test", "test by default"],
)
def test_test_inner_steps_count_outside_training_alone(training: bool, test_steps: int | None, taken: int) -> None:
    learner = make_learner(steps=1, test_steps=test_steps).train(training)
    wanted = reference.inner_loop(reference.parameters_of(learner.network), support(), reference.Inner(LR, taken))
    torch.testing.assert_close(adapted(learner)["head.bias"], wanted[17], rtol=1e-10, atol=1e-13)


def test_training_and_evaluation_mode_normalise_alike() -> None:
    learner = make_learner()
    in_evaluation = learner.logits(pictures(4, 1), adapted(learner))
    learner.train()
    torch.testing.assert_close(learner.logits(pictures(4, 1), adapted(learner)), in_evaluation, rtol=0, atol=0)


@pytest.mark.parametrize("batchnorm", MODES)
def test_adapting_frozen_weights_leaves_the_network_and_its_gradients_alone(batchnorm: Mode) -> None:
    learner = make_learner(batchnorm)
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    fast = learner.adapt(learner.frozen_weights(), *support(), second_order=True)
    torch.autograd.backward([value.square().sum() for value in in_order(fast)])
    assert all(parameter.grad is None for parameter in learner.parameters())
    assert all(parameter.requires_grad for parameter in learner.parameters())
    after = learner.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(("batchnorm", "alone"), [("transductive", False), ("support", True), ("running", True)])
def test_a_query_images_logits_depend_on_the_other_queries_in_transductive_mode_alone(
    batchnorm: Mode, alone: bool
) -> None:
    learner = make_learner(batchnorm)
    fast = adapted(learner)
    with torch.no_grad():
        first = learner.logits(torch.cat([pictures(1, 1), pictures(5, 2)]), fast)[0]
        second = learner.logits(torch.cat([pictures(1, 1), pictures(5, 3)]), fast)[0]
    assert torch.allclose(first, second, rtol=0, atol=1e-10) == alone
    if not alone:
        assert (first - second).abs().max() > 1e-3


def test_support_mode_on_the_support_set_itself_equals_transductive_mode() -> None:
    images, _ = support()
    by_mode = []
    for learner in (make_learner("support"), make_learner("transductive")):
        fast = adapted(learner)
        with torch.no_grad():
            by_mode.append(learner.logits(images, fast))
    torch.testing.assert_close(by_mode[0], by_mode[1], rtol=1e-12, atol=1e-12)


def test_support_mode_normalises_by_the_support_sets_statistics_under_the_adapted_weights() -> None:
    learner = make_learner("support")
    wanted_fast = reference.inner_loop(reference.parameters_of(learner.network), support(), reference.Inner(LR, 2))
    fast = adapted(learner)
    with torch.no_grad():
        _, seen = reference.conv4_features(wanted_fast, support()[0])
        wanted = reference.conv4(wanted_fast, pictures(4, 1), seen)
        torch.testing.assert_close(learner.logits(pictures(4, 1), fast), wanted, rtol=1e-10, atol=1e-12)


def test_running_mode_normalises_support_and_query_by_the_networks_buffers() -> None:
    learner = make_learner("running", steps=1)
    theta, remembered = reference.parameters_of(learner.network), reference.remembered_by(learner.network)
    images, labels = support()
    loss = reference.cross_entropy(reference.conv4(theta, images, remembered), labels)
    gradients = torch.autograd.grad(loss, theta)
    wanted = [value - LR * gradient for value, gradient in zip(theta, gradients, strict=True)]
    fast = adapted(learner)
    for found, other in zip(in_order(fast), wanted, strict=True):
        torch.testing.assert_close(found, other, rtol=1e-10, atol=1e-13)
    found_logits = learner.logits(pictures(4, 1), fast)
    wanted_logits = reference.conv4(wanted, pictures(4, 1), remembered)
    torch.testing.assert_close(found_logits, wanted_logits, rtol=1e-10, atol=1e-12)


def test_the_meta_model_keeps_no_running_statistics_in_its_state() -> None:
    assert not [name for name in make_learner("support").state_dict() if "running" in name or "batches" in name]


def test_first_weights_depend_on_the_seed_alone() -> None:
    learners = [Maml("conv4", {"width": 4}) for _ in range(3)]
    for noise, (learner, seed) in enumerate(zip(learners, (0, 0, 1), strict=True)):
        torch.manual_seed(noise)
        learner.build(WAY, 3, 16, seed)
    first, same, other = (learner.state_dict()["network.head.weight"] for learner in learners)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_gradients_flow_through_the_support_sets_statistics_as_in_the_reference() -> None:
    learner = make_learner("support")
    images, labels = support()
    images.requires_grad_()
    theta = reference.parameters_of(learner.network)
    wanted_fast = reference.inner_loop(theta, (images, labels), reference.Inner(LR, 2))
    _, seen = reference.conv4_features(wanted_fast, images)
    wanted = reference.conv4(wanted_fast, pictures(4, 1), seen)
    found = learner.logits(pictures(4, 1), learner.adapt(learner.weights(), images, labels, second_order=True))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    own = dict(learner.network.named_parameters())
    gradients = torch.autograd.grad(found.square().sum(), [images, *in_order(own)])
    wanted_gradients = torch.autograd.grad(wanted.square().sum(), [images, *theta])
    for gradient, other in zip(gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-8, atol=1e-10)


def test_icfil_applies_where_batchnorm_remembers_nothing() -> None:
    assert make_learner("transductive").calibratable
    assert make_learner("support").calibratable
    assert not make_learner("running").calibratable
