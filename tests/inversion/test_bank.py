"""The image bank: where its first images come from, and which of them an episode takes."""

from pathlib import Path

import pytest
import torch

from purer_lightning.episode import EpisodePlan, draw_plan
from purer_lightning.errors import PurerError
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.inversion.memory_mapped import mapped_tensor

NAMES = ["ant", "bee", "cat", "dog"]
PER_CLASS = 5


def make_bank(names: list[str] = NAMES, seed: int = 0, images_per_class: int = PER_CLASS) -> ImageBank:
    return ImageBank.drawn(names, images_per_class, 3, 6, seed)


def make_plan(seed: int = 0) -> EpisodePlan:
    """Two episodes of 3 classes, 1 support and 2 query images a class, so 2 of 5 slots stay unused."""
    counts = torch.full((len(NAMES),), PER_CLASS)
    return draw_plan(counts, episodes=2, way=3, shot=1, query=2, update=0, rng=torch.Generator().manual_seed(seed))


def test_first_images_of_a_class_depend_on_its_name_and_the_seed_alone() -> None:
    bank, backwards = make_bank(), make_bank(NAMES[::-1])
    assert torch.equal(bank.images, backwards.images.flip(0))
    assert torch.equal(make_bank(["cat"]).images[0], bank.images[2])


def test_first_images_differ_between_classes_and_seeds() -> None:
    rows = torch.cat([make_bank(seed=0).images, make_bank(seed=1).images]).detach().flatten(1)
    assert len(torch.unique(rows, dim=0)) == 2 * len(NAMES)


def test_first_images_are_standard_normal_float32_leaves() -> None:
    images = make_bank(images_per_class=200).images
    assert images.dtype == torch.float32
    assert images.is_leaf and images.requires_grad
    assert images.shape == (4, 200, 3, 6, 6)
    assert abs(images.mean().item()) < 0.01  # 86,400 draws: three standard errors
    assert abs(images.var().item() - 1) < 0.02


def test_labels_name_the_plans_classes_and_all_images_of_an_episode_are_distinct() -> None:
    bank, plan = make_bank(), make_plan()
    with torch.no_grad():  # every image says which class and slot it is
        codes = 10 * torch.arange(len(NAMES))[:, None] + torch.arange(PER_CLASS)
        bank.images.copy_(codes[:, :, None, None, None].expand_as(bank.images))
    for number, episode in enumerate(bank.episodes(plan)):
        support, query = episode.support[:, 0, 0, 0].long(), episode.query[:, 0, 0, 0].long()
        assert torch.equal(support // 10, plan.classes[number][episode.support_labels])
        assert torch.equal(query // 10, plan.classes[number][episode.query_labels])
        assert (len(support), len(query)) == (3, 6)
        assert len(torch.unique(torch.cat([support, query]))) == 9
        assert episode.way == 3


def test_gradient_flows_to_exactly_the_slots_that_the_plan_uses() -> None:
    bank, plan = make_bank(), make_plan()
    used = torch.zeros(len(NAMES), PER_CLASS)
    for classes, slots in zip(plan.classes, plan.slots, strict=True):
        used[classes[:, None], slots] += 1
    total = sum((e.support.sum() + e.query.sum() for e in bank.episodes(plan)), start=torch.zeros(()))
    (gradient,) = torch.autograd.grad(total, bank.images)
    assert torch.equal(gradient, used[:, :, None, None, None].expand_as(gradient))
    assert 0 < (used == 0).sum() < used.numel()


def test_a_bank_of_given_images_hands_them_out_without_a_gradient() -> None:
    images = torch.randn(len(NAMES), PER_CLASS, 3, 6, 6)
    bank = ImageBank(images)
    bank.to(torch.device("cpu"))
    plan = make_plan()
    assert not bank.images.requires_grad
    for number, episode in enumerate(bank.episodes(plan)):
        wanted = images[plan.classes[number][:, None], plan.slots[number]]
        assert torch.equal(episode.support, wanted[:, :1].flatten(0, 1))
        assert torch.equal(episode.query, wanted[:, 1:].flatten(0, 1))


def test_moving_an_inverted_bank_keeps_it_learnable() -> None:
    bank = make_bank()
    bank.to(torch.device("cpu"))
    assert bank.images.is_leaf and bank.images.requires_grad


def test_counts_say_how_many_images_each_class_has() -> None:
    assert make_bank(images_per_class=7).counts.tolist() == [7, 7, 7, 7]


def test_a_bank_on_disk_is_of_float32_on_the_cpu(tmp_path: Path) -> None:
    with pytest.raises(PurerError, match=r"synthesis.on_disk to false"):
        ImageBank.drawn(NAMES, PER_CLASS, 3, 6, 0, tmp_path).to(torch.device("cpu"), torch.float64)


def test_a_disk_without_room_is_said_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(PurerError, match=r"GiB of the image bank in '.*'"):
        mapped_tensor((2**50,), tmp_path)


def test_only_some_classes_are_copies_that_know_what_they_are_of() -> None:
    bank = make_bank()
    part = bank.only(torch.tensor([1, 3]))
    assert torch.equal(part.images, bank.images[[1, 3]])
    assert part.classes.tolist() == [1, 3]
    assert part.images.is_leaf and part.images.requires_grad
    assert bank.only(None) is bank
