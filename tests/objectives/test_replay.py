"""The judged images of a distillation: what is drawn, how often it is used, and what a resumed run goes on with."""

import pytest
import torch
from students import SIZES, copies, make_bank, make_plan, make_student, ready, small

from purer_lightning.objectives import Distillation
from purer_lightning.objectives.augmentation import AugmentationSettings

AS_THEY_ARE = AugmentationSettings(flip=0.0, shift=0, mixup=0.0, cutmix=0.0)


def test_targets_have_mean_0_for_each_image_and_spread_1_for_each_teacher() -> None:
    objective = small()
    ready(objective)
    objective.batch(make_bank(), 0)
    assert objective.replay is not None
    for own in torch.split(objective.replay.targets, SIZES, dim=1):
        torch.testing.assert_close(own.sum(dim=1), torch.zeros(15, dtype=torch.float64), rtol=0, atol=1e-12)
        torch.testing.assert_close(own.std(), torch.tensor(1.0, dtype=torch.float64))


def test_the_scale_is_that_of_the_first_images_judged() -> None:
    objective = small()
    ready(objective)
    objective.batch(make_bank(), 0)
    first = objective.scale
    objective.batch(make_bank(), 6)
    assert objective.scale is first


def test_every_judged_image_is_used_once_a_round_among_others_each_time() -> None:
    objective, bank = small(), make_bank()
    ready(objective)
    batches = [objective.batch(bank, update) for update in range(6)]
    assert objective.replay is not None
    kept = objective.replay
    used = []
    for images, targets, _ in batches:
        same = (images[:, None] == kept.images).flatten(2).all(dim=2)
        assert (same.sum(dim=1) == 1).all()
        used.append(same.int().argmax(dim=1).tolist())
        assert torch.equal(targets, kept.targets[used[-1]])
    for round_ in (used[:3], used[3:]):
        assert sorted(number for batch in round_ for number in batch) == list(range(15))
    assert not {frozenset(batch) for batch in used[:3]} & {frozenset(batch) for batch in used[3:]}
    objective.batch(bank, 6)
    assert not torch.equal(objective.replay.images, kept.images)


def test_a_batch_depends_on_the_update_alone_and_not_on_which_came_before() -> None:
    bank, one, other = make_bank(), small(), small()
    for objective in (one, other):
        ready(objective)
        objective.batch(bank, 0)
    for update in range(1, 4):
        one.batch(bank, update)
    for found, wanted in zip(one.batch(bank, 4), other.batch(bank, 4), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("procedural", [0.0, 0.4, 1.0])
def test_a_share_of_the_images_is_procedural_and_the_rest_are_the_banks(procedural: float) -> None:
    objective, bank = small(procedural=procedural, augmentation=AS_THEY_ARE), make_bank()
    ready(objective)
    images = objective.draw(bank, 200, "views", 0)
    own = bank.images.flatten(0, 1)
    same = (images[:, None] == own).flatten(2).all(dim=2)
    assert same.any(dim=1).sum() == round(200 * (1 - procedural))
    assert same.any(dim=0).sum() == (len(own) if procedural < 1 else 0)  # every image of the bank is drawn some time
    assert procedural in (0.0, 1.0) or 0 < same.any(dim=1)[:50].sum() < 50  # shuffled, so that they are mixed


def resumed(objective: Distillation, **changes: object) -> Distillation:
    other = small(**changes)
    ready(other)
    other.load_state_dict(objective.state_dict())
    return other


def test_a_resumed_objective_goes_on_with_the_judged_images_though_the_bank_has_moved() -> None:
    objective, bank, moved = small(), make_bank(), make_bank()
    ready(objective)
    objective.batch(bank, 0)
    moved.images = moved.images + 1
    other = resumed(objective)
    for update in range(1, 8):  # into the next period, whose images are judged in the same units
        for found, wanted in zip(other.batch(moved, update), objective.batch(moved, update), strict=True):
            assert torch.equal(found, wanted)
    assert torch.equal(*(known.scale for known in (other, objective) if known.scale is not None))


def test_before_anything_is_judged_there_is_nothing_to_keep() -> None:
    objective = small()
    ready(objective)
    assert objective.state_dict() == {}
    assert len(resumed(objective).batch(make_bank(), 4).images) == 5


def test_resumed_with_other_batches_the_images_are_judged_anew_in_the_same_units() -> None:
    objective = small()
    ready(objective)
    objective.batch(make_bank(), 0)
    other = resumed(objective, batch_size=7, judged_batches=2)
    assert torch.equal(*(known.scale for known in (other, objective) if known.scale is not None))
    assert [len(other.batch(make_bank(), update).images) for update in (3, 4)] == [7, 7]


def test_setting_up_for_another_run_forgets_the_last_ones_judgements() -> None:
    objective = small()
    ready(objective)
    objective.batch(make_bank(), 0)
    ready(objective)
    assert objective.scale is None
    assert objective.replay is None


def test_everything_follows_the_banks_device() -> None:
    # "meta" is a device without values, but mixing it with the CPU is refused as mixing any two devices is.
    objective = small()
    ready(objective)
    objective.batch(make_bank(), 0)
    other, bank = resumed(objective), make_bank()
    bank.images = bank.images.detach().to("meta").requires_grad_()
    student = make_student().to("meta")
    outcome = other.outcome(student, student.weights(), bank, make_plan(1), second_order=False)
    outcome = other.outcome(student, student.weights(), bank, make_plan(6), second_order=False)
    hardness = other.hardness(student, copies(student), bank, make_plan(6))
    assert {part.device.type for part in (*outcome, hardness)} == {"meta"}


def test_under_autocast_the_judgement_is_kept_in_float32() -> None:
    objective, bank = small(), make_bank()
    student = ready(objective).float()
    for network in objective.judges.networks:
        network.float()
    bank.images = bank.images.detach().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        outcome = objective.outcome(student, student.weights(), bank, make_plan(), second_order=False)
    assert objective.replay is not None
    assert {part.dtype for part in (*objective.replay, objective.scale, outcome.loss)} == {torch.float32}  # type: ignore[union-attr]
    torch.autograd.backward(outcome.loss)
    assert all(parameter.grad is not None for parameter in student.parameters())
