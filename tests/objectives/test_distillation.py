"""Cross-teacher distillation: loss, agreement, hardness and their gradients against a plain implementation."""

import pytest
import torch
from students import (
    EACH,
    OUTPUTS,
    SIZES,
    copies,
    gradients,
    make_bank,
    make_plan,
    make_pool,
    plain_logits,
    ready,
    small,
)
from torch import Tensor

import reference
from purer_lightning.learners import FeatureClassifier
from purer_lightning.objectives import Distillation, Outcome
from purer_lightning.objectives.distillation import agreement
from purer_lightning.objectives.episodic import outer_loop


def evaluate(objective: Distillation, student: FeatureClassifier, update: int = 0) -> Outcome:
    return objective.outcome(student, student.weights(), make_bank(), make_plan(update), second_order=False)


def plain_judgement(images: Tensor, mirror: bool) -> list[Tensor]:
    """Return each teacher's logits less their mean, (N, classes) each, by the teachers themselves."""
    said = []
    for teacher in make_pool().teachers:
        rows = [teacher.network(image[None])[0] for image in images]
        if mirror:
            rows = [
                (row + teacher.network(image.flip(2)[None])[0]) / 2 for row, image in zip(rows, images, strict=True)
            ]
        said.append(torch.stack([row - sum(row) / len(row) for row in rows]))
    return said


def plain_spread(values: Tensor) -> Tensor:
    flat = values.flatten()
    mean = sum(flat) / len(flat)
    return torch.sqrt(sum((flat - mean) ** 2) / (len(flat) - 1))  # type: ignore[arg-type]


def plain_smooth_l1(said: Tensor, wanted: Tensor) -> Tensor:
    terms = []
    for one, other in zip(said.flatten(), wanted.flatten(), strict=True):
        distance = abs(one - other)
        terms.append(distance**2 / 2 if distance < 1 else distance - 0.5)
    return torch.stack(terms).mean()


@pytest.mark.parametrize("mirror", [False, True], ids=["as they are", "and mirrored"])
@pytest.mark.parametrize("update", [0, 4], ids=["first batch", "reused batch"])
def test_loss_and_meta_gradient_equal_the_plain_formula(update: int, mirror: bool) -> None:
    objective = small(mirror=mirror)
    student = ready(objective)
    theta = reference.parameters_of(student.network)
    outcome = evaluate(objective, student, update)
    assert objective.replay is not None
    spreads = [plain_spread(said) for said in plain_judgement(objective.replay.images, mirror)]
    images, _, _ = objective.batch(make_bank(), update)
    judged = [said / spread for said, spread in zip(plain_judgement(images, mirror), spreads, strict=True)]
    said = plain_logits(theta, images)
    wanted = plain_smooth_l1(said, torch.cat(judged, dim=1))
    assert ((said - torch.cat(judged, dim=1)).abs() > 1).any()  # both branches of smooth L1 are met
    assert ((said - torch.cat(judged, dim=1)).abs() < 1).any()
    torch.testing.assert_close(outcome.loss, wanted, rtol=1e-10, atol=0)
    assert torch.equal(outcome.difficulty, outcome.loss.detach())
    for found, own in zip(gradients(outcome.loss, student), torch.autograd.grad(wanted, theta), strict=True):
        torch.testing.assert_close(found, own, rtol=1e-8, atol=1e-12)


def test_the_theta_step_does_not_reach_the_bank() -> None:
    objective, bank = small(), make_bank()
    student = ready(objective)
    outcome = objective.outcome(student, student.weights(), bank, make_plan(), second_order=False)
    assert objective.replay is not None
    assert not any(part.requires_grad for part in objective.replay)
    assert torch.autograd.grad(outcome.loss, bank.images, allow_unused=True)[0] is None
    assert not outcome.difficulty.requires_grad
    assert not outcome.accuracy.requires_grad


def test_permuting_the_teachers_permutes_targets_and_changes_neither_loss_nor_accuracy() -> None:
    outcomes, judged = [], []
    turned = [*range(SIZES[0], OUTPUTS), *range(SIZES[0])]
    for order in ((0, 1), (1, 0)):
        objective = small()
        student = ready(objective, order)
        if order == (1, 0):
            with torch.no_grad():
                for parameter in student.network.head.parameters():  # type: ignore[union-attr]
                    parameter.copy_(parameter[turned].clone())
        outcomes.append(evaluate(objective, student))
        assert objective.replay is not None
        judged.append(objective.replay)
    assert torch.equal(judged[1].images, judged[0].images)
    torch.testing.assert_close(judged[1].targets, judged[0].targets[:, turned], rtol=0, atol=1e-12)
    for found, wanted in zip(outcomes[1], outcomes[0], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)


def test_episodes_add_their_mean_outer_loss_by_their_weight() -> None:
    alone, both = small(), small(episodic=0.3)
    students = ready(alone), ready(both)
    wanted = evaluate(alone, students[0])
    found = evaluate(both, students[1])
    # The student's forward pass has moved what its BatchNorm remembers; the episodes are normalised by that.
    episodes = make_bank().episodes(make_plan())
    outer = outer_loop(students[1], students[1].weights(), episodes, second_order=False)
    torch.testing.assert_close(found.loss, wanted.loss + 0.3 * outer.loss / 2, rtol=1e-12, atol=0)
    assert torch.equal(found.difficulty, wanted.difficulty)
    assert outer.loss > 0.1
    without = gradients(wanted.loss, students[0])
    assert not torch.allclose(gradients(found.loss, students[1])[0], without[0])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_hardness_gradient_on_the_bank_equals_finite_differences(seed: int) -> None:
    objective, bank = small(batch_size=12), make_bank()
    student, start = ready(objective), make_bank().images.detach()
    objective.batch(bank, 0)

    def hardness(images: Tensor) -> Tensor:
        bank.images = images.detach().clone().requires_grad_()
        return objective.hardness(student, copies(student), bank, make_plan(1, episodes=1))

    direction = torch.randn(start.shape, generator=torch.Generator().manual_seed(seed), dtype=start.dtype)
    reach = 1e-6
    slope = (hardness(start + reach * direction) - hardness(start - reach * direction)).item() / (2 * reach)
    (gradient,) = torch.autograd.grad(hardness(start), bank.images)
    assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-5)
    assert (gradient.flatten(2).abs().amax(dim=2) > 0).sum() > EACH  # images of several classes


def test_hardness_asks_teachers_and_student_about_other_views_than_the_theta_step() -> None:
    objective, bank = small(procedural=0.0, mirror=False), make_bank()
    student = ready(objective)
    batch = objective.batch(bank, 0)
    views = objective.draw(bank, 5, "hard views", 0)
    assert not torch.equal(views, batch.images)
    said = plain_logits(reference.parameters_of(student.network), views)
    assert objective.scale is not None
    wanted = plain_smooth_l1(said, torch.cat(plain_judgement(views, mirror=False), dim=1) / objective.scale)
    found = objective.hardness(student, copies(student), bank, make_plan(0, episodes=1))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=0)


def test_hardness_leaves_no_trace_on_the_meta_model_and_the_judged_images() -> None:
    objective, bank = small(), make_bank()
    student = ready(objective)
    objective.batch(bank, 0)
    kept = objective.replay
    before = {name: value.clone() for name, value in student.network.state_dict().items()}
    given = copies(student)
    torch.autograd.backward(objective.hardness(student, given, bank, make_plan(0, episodes=1)))
    assert bank.images.grad is not None
    assert objective.replay is kept
    assert all(parameter.grad is None for parameter in student.parameters())
    for name, value in student.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    # The copies are what it did move: without them it would have been the meta-model's BatchNorm.
    assert not torch.equal(given["blocks.0.1.running_mean"], before["blocks.0.1.running_mean"])


def test_hardness_may_come_before_the_first_theta_step() -> None:
    objective, bank = small(), make_bank()
    student = ready(objective)
    torch.autograd.backward(objective.hardness(student, copies(student), bank, make_plan()))
    assert bank.images.grad is not None
    assert objective.scale is not None
    assert not objective.scale.requires_grad
    assert evaluate(objective, student).loss.isfinite()


def test_without_images_of_the_bank_hardness_has_no_gradient_but_a_graph() -> None:
    objective, bank = small(procedural=1.0), make_bank()
    student = ready(objective)
    loss = objective.hardness(student, copies(student), bank, make_plan())
    assert torch.autograd.grad(loss, bank.images)[0].count_nonzero() == 0


def test_agreement_is_the_share_of_judgements_with_the_same_top_class() -> None:
    targets = torch.tensor([[3.0, 1, 2, 0, 1], [1, 2, 3, 1, 0], [0, 5, 1, 2, 3]])  # top 0 | 1, 2 | 0, 1 | 1
    assert agreement(targets, targets, [3, 2]).item() == 1.0
    assert agreement(7 * targets + 1, targets, [3, 2]).item() == 1.0
    said = torch.tensor([[0.0, 9, 8, 3, 4], [1, 2, 9, 7, 8], [0, 5, 1, 8, 7]])  # top 1 | 1, 2 | 1, 1 | 0
    assert agreement(said, targets, [3, 2]).item() == pytest.approx((2 / 3 + 1 / 3) / 2)


def test_accuracy_is_agreement() -> None:
    objective = small()
    student = ready(objective)
    theta = reference.parameters_of(student.network)
    objective.batch(make_bank(), 0)
    images, targets, _ = objective.batch(make_bank(), 1)
    found = evaluate(objective, student, 1).accuracy
    said = plain_logits(theta, images)
    same = [
        int(one.argmax()) == int(other.argmax())
        for row, wanted in zip(said, targets, strict=True)
        for one, other in zip(row.split(SIZES), wanted.split(SIZES), strict=True)
    ]
    assert found.item() == pytest.approx(sum(same) / len(same))
