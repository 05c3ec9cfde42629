"""Joint training: one classifier over all classes of the pool, by plain cross-entropy."""

import pytest
import torch
from students import CLASSES, EACH, SIZE, copies, gradients, make_bank, make_plan, plain_logits, ready
from torch import Tensor

import reference
from purer_lightning.errors import PurerError
from purer_lightning.objectives import Joint
from purer_lightning.objectives.augmentation import AugmentationSettings

AS_THEY_ARE = AugmentationSettings(flip=0.0, shift=0, mixup=0.0, cutmix=0.0)


def plain_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    rows = [row.exp().sum().log() - row[label] for row, label in zip(logits, labels, strict=True)]
    return torch.stack(rows).mean()


def test_the_label_of_an_image_is_its_class_position_in_the_bank() -> None:
    bank, objective = make_bank(), Joint(batch_size=200)
    ready(objective, outputs=CLASSES)
    # Images of one colour, which flips and shifts leave alone: the number of the class and of the image.
    colours = torch.arange(CLASSES * EACH, dtype=torch.float64).view(CLASSES, EACH, 1, 1, 1)
    bank.images = colours.expand_as(bank.images).clone().requires_grad_()
    images, labels = objective.draw(bank, 0)
    colour = images[:, 0, 0, 0]
    assert torch.equal(images, colour[:, None, None, None].expand_as(images))
    assert torch.equal(labels, (colour / EACH).long())
    assert labels.dtype == torch.int64
    assert len(set(colour.tolist())) == CLASSES * EACH  # every image is drawn some time


def test_loss_accuracy_and_meta_gradient_are_those_of_plain_cross_entropy() -> None:
    bank, objective = make_bank(), Joint(batch_size=9)
    student = ready(objective, outputs=CLASSES)
    theta = reference.parameters_of(student.network)
    outcome = objective.outcome(student, student.weights(), bank, make_plan(), second_order=True)
    images, labels = objective.draw(bank, 0)
    logits = plain_logits(theta, images.detach())
    wanted = plain_cross_entropy(logits, labels)
    torch.testing.assert_close(outcome.loss, wanted, rtol=1e-10, atol=0)
    assert torch.equal(outcome.difficulty, outcome.loss.detach())
    right = sum(int(row.argmax()) == int(label) for row, label in zip(logits, labels, strict=True))
    assert outcome.accuracy.item() == pytest.approx(right / 9)
    assert torch.autograd.grad(outcome.loss, bank.images, retain_graph=True, allow_unused=True)[0] is None
    for found, own in zip(gradients(outcome.loss, student), torch.autograd.grad(wanted, theta), strict=True):
        torch.testing.assert_close(found, own, rtol=1e-8, atol=1e-12)


def test_hardness_is_the_loss_that_the_theta_step_is_going_to_see_and_reaches_its_images() -> None:
    bank, objective = make_bank(), Joint(batch_size=6, augmentation=AS_THEY_ARE)
    student = ready(objective, outputs=CLASSES)
    before = {name: value.clone() for name, value in student.network.state_dict().items()}
    hardness = objective.hardness(student, copies(student), bank, make_plan(4, episodes=1))
    (gradient,) = torch.autograd.grad(hardness, bank.images)
    assert all(torch.equal(value, before[name]) for name, value in student.network.state_dict().items())
    images, _ = objective.draw(bank, 4)
    drawn = (images[:, None] == bank.images.flatten(0, 1)).flatten(2).all(dim=2).any(dim=0)
    assert torch.equal(gradient.flatten(0, 1).flatten(1).any(dim=1), drawn)
    outcome = objective.outcome(student, student.weights(), bank, make_plan(4), second_order=False)
    torch.testing.assert_close(hardness, outcome.loss)


def test_updates_see_other_images_and_a_resumed_run_the_same_ones() -> None:
    bank, one, other = make_bank(), Joint(batch_size=6), Joint(batch_size=6)
    for objective in (one, other):
        ready(objective, outputs=CLASSES)
    assert not torch.equal(one.draw(bank, 0)[0], one.draw(bank, 1)[0])
    assert torch.equal(one.draw(bank, 1)[0], other.draw(bank, 1)[0])
    assert one.state_dict() == {}


@pytest.mark.parametrize("mixing", [{"mixup": 0.1}, {"cutmix": 0.1}])
def test_mixing_is_refused_since_an_image_has_one_label(mixing: dict[str, float]) -> None:
    with pytest.raises(PurerError, match=r"mixup or augmentation.cutmix is above 0 .*; set both to 0"):
        Joint(augmentation=AugmentationSettings(**{"mixup": 0.0, "cutmix": 0.0} | mixing))  # type: ignore[arg-type]


def test_a_value_out_of_its_range_is_named() -> None:
    with pytest.raises(PurerError, match=r"init_args.batch_size to be at least 1, but got 0"):
        Joint(batch_size=0)
    with pytest.raises(PurerError, match=r"augmentation.flip"):
        Joint(augmentation=AugmentationSettings(flip=-1.0, mixup=0.0, cutmix=0.0))


def test_an_output_for_each_class_of_the_pool_is_asked_for_and_not_for_each_teachers() -> None:
    with pytest.raises(PurerError, match=r"5 outputs, one for each class .*, but it has 7; set .*outputs to 5"):
        ready(Joint(), outputs=7)


def test_a_shift_has_to_be_smaller_than_the_images() -> None:
    with pytest.raises(PurerError, match=r"augmentation.shift to be below"):
        ready(Joint(augmentation=AugmentationSettings(shift=SIZE, mixup=0.0, cutmix=0.0)), outputs=CLASSES)
