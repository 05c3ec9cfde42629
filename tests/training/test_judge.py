"""UpdateJudge: what it says with and without the adversarial term, and what it leaves as it was."""

import torch
from torch import Tensor, nn

from purer_lightning.inversion.bank import ImageBank
from purer_lightning.inversion.gradient import ClassTeacher
from purer_lightning.inversion.loss import Terms
from purer_lightning.training.judge import UpdateJudge

CLASSES = torch.tensor([1, 3])


class Knows:
    """A teacher of some classes."""

    network = nn.Identity()

    def __init__(self, *classes: int) -> None:
        self.classes = torch.tensor(classes)


TEACHERS: list[ClassTeacher] = [Knows(1), Knows(3)]


def gradient(teachers: list[ClassTeacher], images: Tensor, classes: Tensor) -> tuple[Terms, Tensor]:
    assert torch.equal(classes, CLASSES)
    return {"total": torch.tensor(float(len(teachers)))}, torch.ones_like(images)


def hardness(bank: ImageBank) -> Tensor:
    assert bank.images.requires_grad
    assert torch.equal(bank.classes, CLASSES)
    return torch.autograd.grad(bank.images.square().sum() / 2, bank.images)[0]


def make_bank() -> ImageBank:
    return ImageBank(torch.full((2, 4, 3, 8, 8), 2.0), CLASSES)


def test_asked_with_all_teachers_it_makes_images_harder_where_the_switch_has_fired() -> None:
    for harder, wanted in ((None, 1.0), (hardness, 1.0 - 3 * 2.0)):
        terms, found = UpdateJudge(0, TEACHERS, CLASSES, gradient, harder, 3.0)(make_bank())
        assert terms["total"] == 2
        assert (found == wanted).all()


def test_asked_with_some_teachers_it_leaves_the_adversarial_episode_out() -> None:
    terms, found = UpdateJudge(0, TEACHERS, CLASSES, gradient, hardness, 3.0)(make_bank(), TEACHERS[:1])
    assert terms["total"] == 1
    assert (found == 1).all()


def test_the_images_that_it_judges_get_no_gradient() -> None:
    bank = make_bank()
    UpdateJudge(0, TEACHERS, CLASSES, gradient, hardness, 3.0)(bank)
    assert not bank.images.requires_grad
    assert bank.images.grad is None
