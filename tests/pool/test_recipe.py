"""One teacher: its pictures and labels, its schedule, and the epoch that is kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pool.pools import NORMALISATION
from purer_lightning.data.splits import open_split
from purer_lightning.nets import NetworkSpec
from purer_lightning.pool.manifest import read_manifest
from purer_lightning.pool.networks import checked_network
from purer_lightning.pool.pretraining import recipe
from purer_lightning.pool.pretraining.command import teacher_classes
from purer_lightning.pool.pretraining.jobs import Course, Job, teacher_pictures
from purer_lightning.pool.pretraining.recipe import Pictures, TeacherRecipe, held_out_accuracy, train_teacher
from purer_lightning.pool.teachers import load_pool


def test_the_label_of_every_picture_is_its_class_in_an_overlapping_pool(root: Path, tmp_path: Path) -> None:
    split = open_split(root, "shades", "train")
    course = Course("shades", str(root), tmp_path, NORMALISATION, 1, TeacherRecipe(), 0, "cpu")
    plan = [*teacher_classes(7, 12, 3, seed=0), [5, 0, 3]]
    assert len({tuple(positions) for positions in plan}) > 5
    for number, positions in enumerate(plan):
        spec = NetworkSpec("conv4", 3, 3, 16, {"width": 4})
        for pictures in teacher_pictures(Job(course, number, positions, spec), split):
            assert torch.tensor(positions)[pictures.labels].tolist() == pictures.images[:, 0, 0, 0].tolist()


def test_the_outputs_of_an_overlapping_pool_stand_for_the_classes_they_were_trained_on(
    root: Path, make: Callable[..., Path]
) -> None:
    pool, split = load_pool(make(teachers=4, epochs=20, arguments={"width": 8})), open_split(root, "shades", "train")
    assert len(pool.classes) < 4 * 3
    for teacher in pool.teachers:
        pictures = torch.cat([split.of_class(position) for position in teacher.record.class_ids])
        outputs = teacher.network(pool.normalisation.apply(pictures)).argmax(1)
        said = torch.tensor([known.id for known in pool.classes])[teacher.classes[outputs]]
        assert float((said == pictures[:, 0, 0, 0]).float().mean()) > 0.7  # a wrong order has at most a third


def test_training_and_held_out_pictures_are_all_of_them_once_and_shared_by_teachers(root: Path, tmp_path: Path) -> None:
    split = open_split(root, "shades", "train")
    course = Course("shades", str(root), tmp_path, NORMALISATION, 1, TeacherRecipe(), 0, "cpu")
    held_out_of_class_2 = []
    for number, positions in enumerate(([1, 2], [2, 5])):
        train, held_out = teacher_pictures(Job(course, number, positions, NetworkSpec(classes=2)), split)
        assert (len(train.labels), len(held_out.labels)) == (24, 6)
        both = torch.cat([train.images, held_out.images]).flatten(1)
        every = torch.cat([split.of_class(position) for position in positions]).flatten(1)
        assert sorted(both.tolist()) == sorted(every.tolist())
        held_out_of_class_2.append(held_out.images[held_out.images[:, 0, 0, 0] == 2])
    assert torch.equal(*held_out_of_class_2)


def test_the_accuracy_in_the_record_is_that_of_the_saved_weights(root: Path, make: Callable[..., Path]) -> None:
    folder = make(epochs=6)
    split, pool = open_split(root, "shades", "train"), load_pool(folder)
    course = Course("shades", str(root), folder, NORMALISATION, 6, TeacherRecipe(), 0, "cpu")
    for number, teacher in enumerate(pool.teachers):
        job = Job(course, number, teacher.record.class_ids, teacher.record.network)
        _, held_out = teacher_pictures(job, split)
        assert held_out_accuracy(teacher.network, held_out, NORMALISATION, 5) == teacher.record.held_out_accuracy


def test_the_best_epochs_weights_are_returned_where_later_epochs_are_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = torch.Generator().manual_seed(0)
    train, held_out = (
        Pictures(torch.randint(0, 256, (count, 3, 16, 16), generator=rng, dtype=torch.uint8), torch.arange(count) % 2)
        for count in (40, 37)
    )
    seen: list[float] = []

    def observed(*arguments: Any) -> float:
        seen.append(held_out_accuracy(*arguments))
        return seen[-1]

    monkeypatch.setattr(recipe, "held_out_accuracy", observed)
    spec, settings = NetworkSpec("conv4", 2, 3, 16, {"width": 4}), TeacherRecipe(batch_size=13)
    later_were_worse = []
    for seed in range(4):
        seen.clear()
        weights, accuracy = train_teacher(spec, train, held_out, NORMALISATION, settings, 12, seed, 0)
        best = checked_network(weights, spec, "the best")
        assert accuracy == max(seen) == held_out_accuracy(best, held_out, NORMALISATION, 128)
        later_were_worse.append(accuracy > seen[-1])
    assert any(later_were_worse)


@pytest.mark.parametrize("epochs", [60, 6, 1])
def test_the_learning_rate_falls_after_a_half_two_thirds_and_five_sixths(
    epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []

    def observed(_network: nn.Module, optimiser: torch.optim.Optimizer, *_: Any) -> None:
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()

    monkeypatch.setattr(recipe, "_train_epoch", observed)
    pictures = Pictures(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.arange(4) % 2)
    train_teacher(NetworkSpec("conv4", 2, 3, 16), pictures, pictures, NORMALISATION, TeacherRecipe(), epochs, 0, 0)
    sixth = epochs // 6
    expected = [0.01] * 3 * sixth + [0.002] * sixth + [0.0004] * sixth + [0.00008] * sixth
    assert rates == pytest.approx(expected if sixth else [0.01])


def test_conv4_learns_by_adam_and_resnets_by_sgd(make: Callable[..., Path]) -> None:
    """Weight decay is SGD's alone: it changes the ResNet's weights and not Conv4's."""
    hashes = []
    for decay in (0.0, 0.1):
        changed = TeacherRecipe(batch_size=16, weight_decay=decay)
        folder = make(f"decay {decay}", architectures=["conv4", "resnet10"], epochs=1, recipe=changed)
        hashes.append([record.sha256 for record in read_manifest(folder).teachers])
    architectures = [record.network.architecture for record in read_manifest(folder).teachers]
    assert architectures == ["conv4", "resnet10"]
    assert hashes[0][0] == hashes[1][0]
    assert hashes[0][1] != hashes[1][1]


def test_a_last_batch_of_one_picture_is_left_out() -> None:
    pictures = Pictures(torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8), torch.arange(5) % 2)
    settings = TeacherRecipe(batch_size=4)
    weights, _ = train_teacher(NetworkSpec("conv4", 2, 3, 16), pictures, pictures, NORMALISATION, settings, 1, 0, 0)
    assert int(weights["blocks.0.1.num_batches_tracked"]) == 1
