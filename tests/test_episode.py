"""Episodes and plans: who is drawn, how often, and from what."""

import torch
from torch import Tensor

from purer_lightning.episode import Episode, EpisodePlan, draw_plan, labels_in_order
from purer_lightning.seeding import generator

CLASSES, WAY, SHOT, QUERY = 20, 5, 1, 15
EVEN = torch.full((CLASSES,), 40)


def plan_of(update: int, images_per_class: Tensor = EVEN, episodes: int = 4) -> EpisodePlan:
    rng = generator(0, "plan", update)
    return draw_plan(images_per_class, episodes, WAY, SHOT, QUERY, update, rng)


def same(a: EpisodePlan, b: EpisodePlan) -> bool:
    return torch.equal(a.classes, b.classes) and torch.equal(a.slots, b.slots)


def within_five_deviations(counts: Tensor, trials: int, probability: float) -> bool:
    """Whether every one of the counts is within five standard deviations of its binomial expectation."""
    deviation = (trials * probability * (1 - probability)) ** 0.5
    return bool(((counts - trials * probability).abs() < 5 * deviation).all())


def test_a_plan_has_the_documented_shapes_and_says_for_what_it_was_drawn() -> None:
    plan = plan_of(update=7)
    assert plan.classes.shape == (4, WAY)
    assert plan.slots.shape == (4, WAY, SHOT + QUERY)
    assert plan.classes.dtype == plan.slots.dtype == torch.int64
    assert (plan.shot, plan.update) == (SHOT, 7)


def test_the_classes_of_an_episode_are_distinct() -> None:
    classes = plan_of(0, episodes=300).classes
    assert all(len(row.unique()) == WAY for row in classes)
    assert int(classes.min()) == 0
    assert int(classes.max()) == CLASSES - 1


def test_support_and_query_never_share_an_image() -> None:
    slots = plan_of(0, episodes=300).slots.flatten(0, 1)
    assert all(len(row.unique()) == SHOT + QUERY for row in slots)


def test_slots_exist_in_their_class_when_classes_differ_in_size() -> None:
    uneven = torch.arange(CLASSES) + SHOT + QUERY
    plan = plan_of(0, uneven, episodes=200)
    assert bool((plan.slots >= 0).all())
    assert bool((plan.slots < uneven[plan.classes].unsqueeze(-1)).all())


def test_a_class_with_just_enough_images_gives_all_of_them() -> None:
    plan = plan_of(0, torch.full((CLASSES,), SHOT + QUERY))
    assert torch.equal(plan.slots.sort(dim=-1).values, torch.arange(SHOT + QUERY).expand_as(plan.slots))


def test_every_class_is_equally_likely_under_every_label() -> None:
    classes = plan_of(0, episodes=4000).classes
    for label in range(WAY):
        counts = torch.bincount(classes[:, label], minlength=CLASSES).double()
        assert within_five_deviations(counts, trials=4000, probability=1 / CLASSES)


def test_every_image_is_equally_likely_as_support_and_as_query() -> None:
    slots = plan_of(0, episodes=800).slots.flatten(0, 1)
    support = torch.bincount(slots[:, :SHOT].flatten(), minlength=40).double()
    query = torch.bincount(slots[:, SHOT:].flatten(), minlength=40).double()
    assert within_five_deviations(support, trials=len(slots), probability=SHOT / 40)
    assert within_five_deviations(query, trials=len(slots), probability=QUERY / 40)


def test_a_plan_depends_on_its_generator_alone() -> None:
    first = plan_of(3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert same(plan_of(3), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not same(plan_of(4), first)


def test_episodes_of_one_plan_differ() -> None:
    plan = plan_of(0)
    assert len({tuple(row.flatten().tolist()) for row in plan.slots}) == 4


def test_labels_run_through_the_classes_in_order() -> None:
    assert labels_in_order(3, 2).tolist() == [0, 0, 1, 1, 2, 2]
    assert labels_in_order(3, 2).dtype == torch.int64


def test_the_way_of_an_episode_is_read_off_its_labels() -> None:
    images = torch.zeros(WAY * SHOT, 3, 4, 4)
    labels = labels_in_order(WAY, SHOT)
    assert Episode(images, labels, images, labels, id=0).way == WAY
