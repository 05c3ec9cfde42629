"""Held-out pictures, and the temperature under which their labels are likeliest."""

import pytest
import torch

from purer_lightning.adaptation.temperature import TEMPERATURES, best_temperature, folds


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [1, 0, 1, 1, 2, 1, 1, 1, 1, 0], [0] * 12 + [1] * 3], ids=str)
def test_each_picture_is_held_out_once_but_a_classes_only_one(labels: list[int]) -> None:
    given = torch.tensor(labels)
    held_out = []
    for kept, held in folds(given):
        assert sorted([*kept.tolist(), *held.tolist()]) == list(range(len(labels)))
        assert set(given[kept].tolist()) == set(labels)
        held_out += held.tolist()
    assert sorted(held_out) == [i for i, label in enumerate(labels) if labels.count(label) > 1]


def test_nothing_is_held_out_where_every_class_has_one_picture() -> None:
    assert list(folds(torch.tensor([2, 0, 1]))) == []


@pytest.mark.parametrize("true", [0.1, 1.0, 20.0])
def test_the_temperature_that_labels_were_drawn_with_is_found(true: float) -> None:
    rng = torch.Generator().manual_seed(0)
    logits = true * 2 * torch.randn(4000, 5, generator=rng)
    labels = torch.multinomial((logits / true).softmax(dim=1), 1, generator=rng).flatten()
    assert best_temperature(logits, labels) == pytest.approx(true, rel=0.15)


def test_a_few_pictures_that_are_all_right_do_not_ask_for_certainty() -> None:
    logits = 3 * torch.eye(2)
    sure = (logits / best_temperature(logits, torch.arange(2))).softmax(dim=1).max()
    assert 0.6 < sure < 0.95


def test_pictures_that_are_all_wrong_make_it_unsure() -> None:
    assert best_temperature(3 * torch.eye(2), torch.tensor([1, 0])) == TEMPERATURES[-1]
