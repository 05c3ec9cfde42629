"""The losses of a distillation against plain loops in float64, and what each of them does not see."""

import math

import pytest
import torch
from students import SIZES, gradients, make_bank, make_plan, ready, small
from torch import Tensor

from purer_lightning.nets import functional as nets
from purer_lightning.objectives.distillation_losses import LOSSES, LossName, kl, mse, relational

SAID, WANTED = (
    torch.randn(6, sum(SIZES), dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (0, 1)
)


def plain_kl(said: list[float], wanted: list[float]) -> float:
    def probabilities(logits: list[float]) -> list[float]:
        total = sum(math.exp(value) for value in logits)
        return [math.exp(value) / total for value in logits]

    student, teacher = probabilities(said), probabilities(wanted)
    return sum(t * math.log(t / s) for s, t in zip(student, teacher, strict=True))


def plain_distances(rows: Tensor) -> list[float]:
    found = [math.dist(one.tolist(), other.tolist()) for i, one in enumerate(rows) for other in rows[i + 1 :]]
    return [distance / (sum(found) / len(found)) for distance in found]


def test_kl_is_the_mean_over_images_and_teachers() -> None:
    terms = [
        plain_kl(own.tolist(), wanted.tolist())
        for said, targets in zip(SAID, WANTED, strict=True)
        for own, wanted in zip(said.split(SIZES), targets.split(SIZES), strict=True)
    ]
    assert kl(SAID, WANTED, SIZES).item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_mse_is_the_mean_squared_difference() -> None:
    squares = [(a - b) ** 2 for a, b in zip(SAID.flatten().tolist(), WANTED.flatten().tolist(), strict=True)]
    assert mse(SAID, WANTED, SIZES).item() == pytest.approx(sum(squares) / len(squares), rel=1e-12)


def test_relational_compares_distances_in_units_of_their_mean() -> None:
    pairs = list(zip(plain_distances(SAID), plain_distances(5 * WANTED[:, :4]), strict=True))
    terms = [(a - b) ** 2 / 2 if abs(a - b) < 1 else abs(a - b) - 0.5 for a, b in pairs]
    wanted = sum(terms) / len(terms)
    assert relational(SAID, 5 * WANTED[:, :4]).item() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_a_student_that_says_the_same_has_no_loss(name: LossName) -> None:
    assert LOSSES[name](WANTED.clone(), WANTED, SIZES).item() == pytest.approx(0, abs=1e-12)
    assert LOSSES[name](SAID, WANTED, SIZES).item() > 0.01


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_finite_differences(name: LossName) -> None:
    said = SAID.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda outputs: LOSSES[name](outputs, WANTED, SIZES), (said,))


def test_kl_does_not_see_what_is_added_to_all_logits_of_a_teacher() -> None:
    moved = SAID + torch.tensor([3.0] * SIZES[0] + [-2.0] * SIZES[1])
    torch.testing.assert_close(kl(moved, WANTED, SIZES), kl(SAID, WANTED, SIZES), rtol=1e-12, atol=0)


def test_relational_does_not_see_rotation_shift_and_scale() -> None:
    turn = torch.linalg.qr(SAID.T @ SAID)[0]
    torch.testing.assert_close(relational(3 * SAID @ turn + 1, WANTED), relational(SAID, WANTED), rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", LOSSES)
def test_a_distillation_minimises_the_loss_it_was_given(name: LossName) -> None:
    objective = small(loss=name)
    student = ready(objective)
    outcome = objective.outcome(student, student.weights(), make_bank(), make_plan(), second_order=False)
    images, targets, _ = objective.batch(make_bank(), 0)
    said = nets.logits(student.network, student.weights(), images)
    torch.testing.assert_close(outcome.loss, LOSSES[name](said, targets, SIZES), rtol=1e-12, atol=0)


def test_features_add_the_relational_loss_to_all_teachers_features_by_their_weight() -> None:
    alone, both = small(mirror=False), small(mirror=False, features=0.3)
    students = ready(alone), ready(both)
    found = both.outcome(students[1], students[1].weights(), make_bank(), make_plan(), second_order=False)
    wanted = alone.outcome(students[0], students[0].weights(), make_bank(), make_plan(), second_order=False)
    images, _, features = both.batch(make_bank(), 0)
    torch.testing.assert_close(features, both.judges.features(images), rtol=1e-10, atol=1e-12)
    own = nets.features(students[0].network, students[0].weights(), images)
    torch.testing.assert_close(found.loss, wanted.loss + 0.3 * relational(own, features), rtol=1e-10, atol=0)
    before = gradients(wanted.loss, students[0])
    assert not torch.allclose(gradients(found.loss, students[1])[0], before[0])
