"""Teachers asked in batches say what they say one after the other."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from engine.test_grouped import network
from plugins.prior import Contrast
from purer_lightning.engine.batched_teachers import BatchedTeachers, batches_of, places_of
from purer_lightning.inversion.gradient import ClassTeacher, inversion_gradient
from purer_lightning.inversion.loss import Terms
from purer_lightning.inversion.priors import InversionWeights

# So that each term is seen in the gradient.
PRIORS = [*InversionWeights(total_variation=0.3, l2=0.7, feature=0.2).priors(), Contrast(0.4, least=3.0)]
OFFSET = (1, -2)
CLASSES, EACH = 9, 3


class FrozenTeacher(NamedTuple):
    network: nn.Module
    classes: Tensor


class CountedTeacher:
    """A teacher that is read anew whenever it is asked for."""

    def __init__(self, teacher: FrozenTeacher) -> None:
        self.teacher, self.reads = teacher, 0

    @property
    def network(self) -> nn.Module:
        self.reads += 1
        return self.teacher.network

    @property
    def classes(self) -> Tensor:
        return self.teacher.classes


def teacher(seed: int, classes: list[int], architecture: str = "conv4") -> FrozenTeacher:
    made = network(seed, architecture, 16, classes=len(classes)).requires_grad_(False)
    return FrozenTeacher(made, torch.tensor(classes))


def pool() -> list[FrozenTeacher]:
    """Two architectures, unequal numbers of classes, classes that up to four teachers know, and one that none does."""
    return [
        teacher(0, [0, 1, 2]),
        teacher(1, [4, 2, 5], "resnet10"),
        teacher(2, [2, 0]),
        teacher(3, [6, 2, 7]),
        teacher(4, [7, 3, 0], "resnet10"),
        teacher(5, [1, 4, 6]),
    ]


def bank(seed: int = 1) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(CLASSES, EACH, 3, 16, 16, generator=rng, dtype=torch.float64)


def assert_same(ours: tuple[Terms, Tensor], theirs: tuple[Terms, Tensor]) -> None:
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-9, atol=1e-12)
    assert not any(value.requires_grad for value in (*ours[0].values(), ours[1]))


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "made anew"])
@pytest.mark.parametrize("at_once", [1, 2, 16])
def test_terms_and_gradient_are_those_of_one_teacher_after_the_other(at_once: int, keep: bool) -> None:
    batched, wanted = BatchedTeachers(at_once, keep), inversion_gradient(pool(), bank(), OFFSET, PRIORS)
    assert wanted[1].abs().max() > 1e-3
    assert torch.equal(wanted[1][8], torch.zeros_like(wanted[1][8]))  # the class that nobody knows
    teachers = pool()
    assert_same(batched(teachers, bank(), OFFSET, PRIORS), wanted)
    assert_same(batched(teachers, bank(), OFFSET, PRIORS), wanted)  # from what it has kept


@pytest.mark.parametrize("term", ["total_variation", "l2", "feature"])
def test_each_prior_is_weighed(term: str) -> None:
    weights = {"total_variation": 0.0, "l2": 0.0, "feature": 0.0, term: 100.0}
    wanted = inversion_gradient(pool(), bank(), OFFSET, InversionWeights(**weights).priors())
    assert_same(BatchedTeachers()(pool(), bank(), OFFSET, InversionWeights(**weights).priors()), wanted)
    without = inversion_gradient(pool(), bank(), OFFSET, InversionWeights(0.0, 0.0, 0.0).priors())
    assert not torch.allclose(wanted[1], without[1])


def test_other_teachers_and_other_images_are_noticed() -> None:
    batched, teachers = BatchedTeachers(), pool()
    for asked, seed in ((teachers, 1), (teachers[:2], 2), (teachers[2:], 2), (teachers, 3)):
        wanted = inversion_gradient(asked, bank(seed), OFFSET, PRIORS)
        assert_same(batched(asked, bank(seed), OFFSET, PRIORS), wanted)


def test_of_a_few_teachers_only_the_rows_that_move_come_back() -> None:
    asked, moved = [pool()[1], pool()[2]], torch.tensor([0, 2, 4, 5])
    images = bank()[moved]
    wanted = inversion_gradient(asked, images, OFFSET, PRIORS, classes=moved)
    found = BatchedTeachers()(asked, images, OFFSET, PRIORS, classes=moved)
    assert found[1].shape == (4, EACH, 3, 16, 16)
    assert_same(found, wanted)


def test_teachers_without_batchnorm_have_no_feature_term() -> None:
    teachers = [teacher(seed, [seed, 4]) for seed in range(3)]
    for each in teachers[:2]:
        for block in each.network.blocks:  # type: ignore[union-attr]
            block[1] = nn.Identity()
    assert [len(batch.numbers) for batch in batches_of(teachers, 16, torch.device("cpu"))] == [2, 1]
    wanted = inversion_gradient(teachers, bank(), OFFSET, PRIORS)
    assert_same(BatchedTeachers()(teachers, bank(), OFFSET, PRIORS), wanted)


def test_images_without_any_variation_have_a_finite_gradient() -> None:
    flat = torch.zeros_like(bank())
    wanted = inversion_gradient(pool(), flat, OFFSET, PRIORS)
    assert wanted[1].isfinite().all()
    assert_same(BatchedTeachers()(pool(), flat, OFFSET, PRIORS), wanted)


def test_neither_teachers_nor_images_are_changed() -> None:
    teachers, images = pool(), bank().requires_grad_()
    before = [{name: value.clone() for name, value in each.network.state_dict().items()} for each in teachers]
    BatchedTeachers()(teachers, images, OFFSET, PRIORS)
    for each, state in zip(teachers, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in each.network.state_dict().items())
        assert not any(module._forward_pre_hooks for module in each.network.modules())
    assert images.grad is None
    assert torch.equal(images, bank())


def test_a_batch_has_one_structure_and_no_more_teachers_than_allowed() -> None:
    found = [batch.numbers for batch in batches_of(pool(), 2, torch.device("cpu"))]
    assert sorted(found) == [[0, 3], [1, 4], [2], [5]]


def test_teachers_on_disk_are_read_once_an_update_and_not_kept() -> None:
    teachers = [CountedTeacher(each) for each in pool()]
    asked: list[ClassTeacher] = list(teachers)
    batched = BatchedTeachers(2, keep=False)
    for update in (1, 2):
        batched(asked, bank(), OFFSET, PRIORS)
        assert [each.reads for each in teachers] == [update] * len(teachers)
    assert batched._batches == []


def test_every_row_has_its_place_in_the_order_of_the_teachers() -> None:
    places = places_of(torch.tensor([5, 2, 2, 8, 5, 2]), torch.tensor([2, 3, 5, 8]))
    assert places.T.tolist() == [[1, 2, 5], [6, 6, 6], [0, 4, 6], [3, 6, 6]]


def test_all_is_computed_on_the_images_device() -> None:
    """The device without memory refuses what is elsewhere, as a GPU would."""
    teachers = [FrozenTeacher(each.network.to("meta"), each.classes) for each in pool()]
    terms, gradient = BatchedTeachers()(teachers, bank().to("meta"), OFFSET, PRIORS)
    assert all(value.is_meta for value in (*terms.values(), gradient))
