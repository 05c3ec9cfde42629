"""The data step's gradient: one sum over teachers that no order changes, and that leaves the teachers as they were."""

from collections import Counter
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from purer_lightning.inversion.gradient import draw_jitter, inversion_gradient
from purer_lightning.inversion.loss import Terms
from purer_lightning.inversion.priors import InversionWeights
from reference import make_network, plain_teacher, teachers_loss

PRIORS = InversionWeights().priors()
OFFSET = (1, -2)
CELLS = 25


class FrozenTeacher(NamedTuple):
    network: nn.Module
    classes: Tensor


def make_teacher(seed: int, classes: list[int]) -> FrozenTeacher:
    network = make_network(seed, len(classes), remembers=True).requires_grad_(False)
    return FrozenTeacher(network, torch.tensor(classes))


def make_images() -> Tensor:
    """Five classes of three images."""
    return torch.randn(5, 3, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def evaluate(teachers: list[FrozenTeacher], images: Tensor) -> tuple[Terms, Tensor]:
    return inversion_gradient(teachers, images, OFFSET, PRIORS)


def hooks_on(network: nn.Module) -> int:
    return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in network.modules())


def test_sum_over_teachers_and_its_gradient_equal_the_reference_whatever_the_order_of_their_classes() -> None:
    classes = [[0, 1, 2], [4, 2], [3, 0]]
    teachers = [make_teacher(seed, chosen) for seed, chosen in enumerate(classes)]
    bank = make_images().requires_grad_()
    plain = [plain_teacher(teacher.network, chosen) for teacher, chosen in zip(teachers, classes, strict=True)]
    wanted = teachers_loss(plain, bank, OFFSET)
    terms, gradient = evaluate(teachers, bank)
    torch.testing.assert_close(terms["total"], wanted.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted, bank)[0], rtol=1e-9, atol=1e-14)


def test_permuting_teachers_changes_nothing() -> None:
    teachers = [make_teacher(0, [0, 1, 2]), make_teacher(1, [2, 3]), make_teacher(2, [1, 4])]
    terms, gradient = evaluate(teachers, make_images())
    other_terms, other_gradient = evaluate([teachers[2], teachers[0], teachers[1]], make_images())
    torch.testing.assert_close(terms["total"], other_terms["total"], rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, other_gradient, rtol=1e-12, atol=1e-15)


def test_permuting_images_within_a_class_permutes_the_gradient_alone() -> None:
    teachers, images, order = [make_teacher(0, [0, 1, 2])], make_images(), torch.tensor([2, 0, 1])
    terms, gradient = evaluate(teachers, images)
    other_terms, other_gradient = evaluate(teachers, images[:, order])
    torch.testing.assert_close(terms["total"], other_terms["total"], rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient[:, order], other_gradient, rtol=1e-9, atol=1e-15)


def test_teachers_that_share_classes_add_up_their_losses_and_gradients() -> None:
    first, second = make_teacher(0, [0, 1, 2]), make_teacher(1, [2, 1])
    alone = [evaluate([teacher], make_images()) for teacher in (first, second)]
    terms, gradient = evaluate([first, second], make_images())
    torch.testing.assert_close(terms["total"], alone[0][0]["total"] + alone[1][0]["total"], rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, alone[0][1] + alone[1][1], rtol=1e-12, atol=1e-15)


def test_images_of_known_classes_have_a_gradient_and_those_of_unknown_classes_have_none() -> None:
    _, gradient = evaluate([make_teacher(0, [0, 1]), make_teacher(1, [1, 3])], make_images())
    sizes = gradient.flatten(2).norm(dim=2)
    assert (sizes[[0, 1, 3]] > 0).all()
    assert (sizes[[2, 4]] == 0).all()


def test_gradient_is_that_of_unrolled_images() -> None:
    """The l2 term's gradient is proportional to the images: it shows that the roll is undone."""
    weights = InversionWeights(total_variation=0.0, l2=1e12, feature=0.0).priors()
    images = make_images()
    _, gradient = inversion_gradient([make_teacher(0, [0, 1, 2, 3, 4])], images, OFFSET, weights)
    torch.testing.assert_close(gradient / 1e12, images / images.norm(), rtol=0, atol=1e-10)


def test_teachers_buffers_and_hooks_are_the_same_after_fifty_updates() -> None:
    teacher = make_teacher(0, [0, 1, 2])
    before, hooks = {name: value.clone() for name, value in teacher.network.state_dict().items()}, hooks_on(teacher[0])
    images = make_images()
    for update in range(50):
        _, gradient = inversion_gradient([teacher], images, draw_jitter(0, update), PRIORS)
        images = images - 0.1 * gradient
    after = teacher.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert hooks_on(teacher.network) == hooks == 0
    assert all(parameter.grad is None for parameter in teacher.network.parameters())


def test_the_images_themselves_are_neither_moved_nor_given_a_gradient() -> None:
    images = make_images().requires_grad_()
    evaluate([make_teacher(0, [0, 1])], images)
    assert images.grad is None
    assert torch.equal(images, make_images())


def test_jitter_covers_all_offsets_up_to_two_pixels_equally() -> None:
    updates = 2500
    counts = Counter(draw_jitter(0, update) for update in range(updates))
    assert set(counts) == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}
    expected = updates / CELLS
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_square < 51.2  # 99.9 % of the chi-square distribution with 24 degrees of freedom


@pytest.mark.parametrize("noise", [0, 1])
def test_jitter_depends_on_seed_and_update_alone(noise: int) -> None:
    torch.manual_seed(noise)
    torch.rand(noise)
    drawn = [draw_jitter(7, update) for update in range(8)]
    assert drawn == [draw_jitter(7, update) for update in range(8)]
    assert drawn != [draw_jitter(8, update) for update in range(8)]
    assert len(set(drawn)) > 1
