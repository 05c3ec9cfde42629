"""ICFIL: its contrastive loss, its inversion and its gradient steps against plain loops in float64."""

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

import reference
from purer_lightning.evaluation.icfil import CalibrationSettings, calibrate, contrastive_loss, invert_adapted
from purer_lightning.learners.maml import Maml
from purer_lightning.seeding import generator

Mode = Literal["transductive", "support"]
WAY, SEED, TASK = 3, 1, 4
LABELS = torch.tensor([1, 0, 2, 2, 0, 1])
SETTINGS = CalibrationSettings(
    temperature=0.3, steps=3, lr=0.05, images_per_class=2, inversion_steps=4, inversion_lr=0.25, head_weight=0.7
)


def make_learner(batchnorm: Mode = "transductive") -> Maml:
    learner = Maml("conv4", {"width": 4}, inner_steps=1, batchnorm=batchnorm)
    learner.build(WAY, 3, 16, seed=0)
    learner.network.load_state_dict(reference.make_network(2, WAY, remembers=False).state_dict())
    return learner.double().eval()


def support() -> Tensor:
    return torch.randn(len(LABELS), 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def adapted(learner: Maml) -> dict[str, Tensor]:
    return learner.adapt(learner.frozen_weights(), support(), LABELS)


def settings(**changed: float) -> CalibrationSettings:
    return CalibrationSettings(**{**vars(SETTINGS), **changed})


def calibrated(learner: Maml, fast: dict[str, Tensor], task: int = TASK, **changed: float) -> dict[str, Tensor]:
    return calibrate(learner, fast, support(), LABELS, settings(**changed), SEED, task)


def made_up_features(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def naive_contrastive_loss(real: Tensor, labels: Tensor, pseudo: Tensor, temperature: float) -> Tensor:
    """L_cal of ICFIL, one anchor and one class at a time."""
    losses = []
    for feature, label in zip(real, labels.tolist(), strict=True):
        exponentials = []
        for other in pseudo:
            cosine = (feature * other).sum() / (reference.norm(feature) * reference.norm(other))
            exponentials.append((cosine / temperature).exp())
        losses.append(-(exponentials[label] / torch.stack(exponentials).sum()).log())
    return torch.stack(losses).mean()


def plain_loss(parameters: list[Tensor], pseudo: Tensor) -> Tensor:
    """What a calibration step descends: L_cal to the class means of pseudo features, and the head's cross-entropy."""
    real_features, _ = reference.conv4_features(parameters, support())
    pseudo_features, _ = reference.conv4_features(parameters, pseudo)
    per_class = SETTINGS.images_per_class
    means = torch.stack([pseudo_features[c * per_class : (c + 1) * per_class].mean(dim=0) for c in range(WAY)])
    pseudo_labels = torch.tensor([label for label in range(WAY) for _ in range(per_class)])
    outputs = torch.cat([real_features, pseudo_features]) @ parameters[16].T + parameters[17]
    contrast = naive_contrastive_loss(real_features, LABELS, means, SETTINGS.temperature)
    return contrast + SETTINGS.head_weight * reference.cross_entropy(outputs, torch.cat([LABELS, pseudo_labels]))


def in_order(weights: dict[str, Tensor]) -> list[Tensor]:
    return [weights[name].detach().clone().requires_grad_() for name in reference.PARAMETERS]


def pseudo_images(learner: Maml, fast: dict[str, Tensor], inversion_steps: int = SETTINGS.inversion_steps) -> Tensor:
    changed = settings(inversion_steps=inversion_steps)
    return invert_adapted(learner, fast, support(), WAY, changed, generator(SEED, "icfil", TASK))


def test_contrastive_loss_equals_the_double_loop_and_its_gradient_reaches_both_branches() -> None:
    real, pseudo = made_up_features(len(LABELS), 0), made_up_features(WAY, 1)
    found = contrastive_loss(real, LABELS, pseudo, 0.3)
    wanted = naive_contrastive_loss(real, LABELS, pseudo, 0.3)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
    wanted_gradients = torch.autograd.grad(wanted, (real, pseudo))
    for gradient, other in zip(torch.autograd.grad(found, (real, pseudo)), wanted_gradients, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-9, atol=1e-12)
        assert (gradient.norm(dim=1) > 0).all()


def test_contrastive_loss_does_not_change_with_the_features_scale() -> None:
    real, pseudo = made_up_features(len(LABELS), 0), made_up_features(WAY, 1)
    scaled = contrastive_loss(3 * real, LABELS, 0.2 * pseudo, 0.3)
    torch.testing.assert_close(scaled, contrastive_loss(real, LABELS, pseudo, 0.3), rtol=1e-12, atol=0)


def test_contrastive_loss_of_indistinguishable_classes_is_the_logarithm_of_way() -> None:
    same = made_up_features(1, 0).expand(WAY, 5)
    assert contrastive_loss(made_up_features(6, 1), LABELS, same, 0.3).item() == pytest.approx(math.log(WAY))


def test_inversion_of_the_adapted_model_equals_the_reference_with_the_supports_statistics() -> None:
    learner = make_learner()
    fast = adapted(learner)
    parameters = in_order(fast)
    _, wanted_statistics = reference.conv4_features(parameters, support())
    labels = torch.tensor([label for label in range(WAY) for _ in range(SETTINGS.images_per_class)])
    images = pseudo_images(learner, fast, inversion_steps=0).requires_grad_()
    adam = reference.Adam(SETTINGS.inversion_lr, [images])
    for _ in range(SETTINGS.inversion_steps):
        features, seen = reference.conv4_features(parameters, images)
        loss = (
            reference.cross_entropy(features @ parameters[16].T + parameters[17], labels)
            + 1e-4 * reference.total_variation(images)
            + 1e-5 * reference.norm(images)
            + 0.01 * reference.feature_distance(seen, wanted_statistics)
        )
        (images,) = adam.step([images], torch.autograd.grad(loss, images))
    torch.testing.assert_close(pseudo_images(learner, fast), images.detach(), rtol=0, atol=1e-8)


def test_inversion_raises_the_adapted_models_confidence_in_the_labels() -> None:
    learner = make_learner()
    fast = adapted(learner)
    labels = torch.arange(WAY).repeat_interleave(SETTINGS.images_per_class)
    confidence = []
    for steps in (0, 20):
        images = pseudo_images(learner, fast, steps)
        with torch.no_grad():
            probabilities = learner.logits(images, fast).softmax(dim=1)
        confidence.append(probabilities[range(len(labels)), labels].mean().item())
    assert confidence[1] > confidence[0] + 0.1  # the reference's narrow head cannot make sharp predictions


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_calibration_is_that_many_steps_of_gradient_descent_on_its_loss(steps: int) -> None:
    learner = make_learner()
    fast = adapted(learner)
    pseudo = pseudo_images(learner, fast)
    parameters = in_order(fast)
    for _ in range(steps):
        gradients = torch.autograd.grad(plain_loss(parameters, pseudo), parameters)
        parameters = [value - SETTINGS.lr * gradient for value, gradient in zip(parameters, gradients, strict=True)]
    found = calibrated(learner, fast, steps=steps)
    for name, wanted in zip(reference.PARAMETERS, parameters, strict=True):
        torch.testing.assert_close(found[name], wanted, rtol=1e-9, atol=1e-12)


def test_calibration_decreases_its_own_loss_at_each_step() -> None:
    learner = make_learner()
    fast = adapted(learner)
    pseudo = pseudo_images(learner, fast)
    losses = [plain_loss(in_order(calibrated(learner, fast, steps=steps)), pseudo).item() for steps in range(5)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.01


@pytest.mark.parametrize("batchnorm", ["transductive", "support"])
def test_calibration_returns_the_same_names_and_shapes_and_changes_none_of_the_given_weights(batchnorm: Mode) -> None:
    learner = make_learner(batchnorm)
    fast = adapted(learner)
    given = [
        {name: value.detach().clone() for name, value in weights.items()} for weights in (fast, learner.state_dict())
    ]
    found = calibrated(learner, fast)
    assert {name: value.shape for name, value in found.items()} == {name: v.shape for name, v in fast.items()}
    assert any(not torch.equal(found[name], fast[name]) for name in reference.PARAMETERS)
    for before, after in zip(given, (fast, learner.state_dict()), strict=True):
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in learner.parameters())


def test_support_mode_takes_the_statistics_anew_under_the_calibrated_weights() -> None:
    learner = make_learner("support")
    found = calibrated(learner, adapted(learner))
    _, seen = reference.conv4_features(in_order(found), support())
    for block, (mean, variance) in enumerate(seen):
        torch.testing.assert_close(found[f"blocks.{block}.1.running_mean"], mean)
        torch.testing.assert_close(found[f"blocks.{block}.1.running_var"], variance)


def test_calibration_depends_on_seed_and_task_alone() -> None:
    learner = make_learner()
    fast = adapted(learner)
    first = calibrated(learner, fast)
    torch.manual_seed(99)
    again, other = calibrated(learner, fast), calibrated(learner, fast, task=TASK + 1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])
