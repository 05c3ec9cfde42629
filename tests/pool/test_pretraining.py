"""Pre-training a pool: the same bits whoever makes a teacher, the best epoch, and going on where a run was."""

import pickle
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from pools import NORMALISATION, prepare_pictures, store
from torch import nn

from purer_lightning.data.datasets import open_split
from purer_lightning.errors import PurerError
from purer_lightning.nets import NetworkSpec
from purer_lightning.pool import recipe
from purer_lightning.pool.checks import check, checked_network
from purer_lightning.pool.jobs import Course, Job, teacher_pictures
from purer_lightning.pool.manifest import read_manifest
from purer_lightning.pool.pretraining import pretrain, teacher_classes
from purer_lightning.pool.recipe import Pictures, TeacherRecipe, held_out_accuracy, train_teacher
from purer_lightning.pool.teachers import load_pool


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    prepare_pictures(folder)
    return folder


@pytest.fixture
def make(root: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that pre-trains a small pool and returns its folder."""

    def pretrained(pool: str = "pool", **changes: Any) -> Path:
        settings: dict[str, Any] = {"dataset": "shades", "root": str(root), "way": 3, "epochs": 3}
        settings |= {"arguments": {"width": 4}, "recipe": TeacherRecipe(batch_size=16)}
        pretrain(pool=str(tmp_path / pool), **(settings | changes))
        return tmp_path / pool

    return pretrained


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_disjoint_teachers_are_consecutive_blocks_and_the_last_has_what_is_left() -> None:
    blocks = teacher_classes(64, "disjoint", 5, seed=0)
    assert [len(block) for block in blocks] == [5] * 12 + [4]
    assert [position for block in blocks for position in block] == list(range(64))


def test_a_single_class_left_over_joins_the_last_block() -> None:
    assert teacher_classes(7, "disjoint", 3, seed=0) == [[0, 1, 2], [3, 4, 5, 6]]
    assert teacher_classes(2, "disjoint", 2, seed=0) == [[0, 1]]


def test_random_subsets_are_sorted_seeded_and_do_not_depend_on_how_many_there_are() -> None:
    subsets = teacher_classes(64, 100, 5, seed=1)
    assert all(subset == sorted(set(subset)) and len(subset) == 5 for subset in subsets)
    assert {position for subset in subsets for position in subset} == set(range(64))
    assert teacher_classes(64, 10, 5, seed=1) == subsets[:10]
    assert teacher_classes(64, 100, 5, seed=2) != subsets


def test_a_pool_is_made_and_passes_its_check(make: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(epochs=12)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["teacher_00", "teacher_01"]
    assert "2 teachers" in lines[2]
    check(str(folder))
    pool = load_pool(folder)
    assert [known.name for known in pool.classes] == [f"shade {number:02d}" for number in range(7)]
    assert pool.normalisation == NORMALISATION
    accuracies = [teacher.record.held_out_accuracy for teacher in pool.teachers]
    assert min(accuracy or 0 for accuracy in accuracies) > 0.5  # chance is 1/3 and 1/4


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


def test_the_same_pool_made_twice_has_equal_bits(make: Callable[..., Path]) -> None:
    first = make("a")
    torch.manual_seed(123)
    assert _files(first) == _files(make("b"))


def test_another_seed_makes_other_teachers(make: Callable[..., Path]) -> None:
    first, other = (read_manifest(make(f"seed {seed}", seed=seed)) for seed in (0, 1))
    assert not {record.sha256 for record in first.teachers} & {record.sha256 for record in other.teachers}


def test_making_a_pool_draws_nothing_from_the_global_generator(make: Callable[..., Path]) -> None:
    before = torch.get_rng_state()
    make(epochs=1)
    assert torch.equal(before, torch.get_rng_state())


def test_ranks_under_srun_make_their_shares_in_any_order_and_the_pool_is_the_same(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = make("alone", teachers=5, epochs=2)
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "1")
    shared = make("shared", teachers=5, epochs=2)
    assert [record.name for record in read_manifest(shared).teachers] == ["teacher_01", "teacher_03"]
    monkeypatch.setenv("SLURM_PROCID", "0")
    make("shared", teachers=5, epochs=2)
    assert _files(shared) == _files(alone)


def test_a_batch_script_without_srun_makes_everything(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert len(read_manifest(make(epochs=1)).teachers) == 2


def test_several_processes_make_the_same_pool(make: Callable[..., Path]) -> None:
    assert _files(make("a", processes=2)) == _files(make("b"))


def test_a_training_that_diverges_is_an_error_that_a_process_can_send(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(PurerError, match=r"diverged; lower `recipe.learning_rate`") as caught:
        make(recipe=TeacherRecipe(learning_rate=float("inf")))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert not list((tmp_path / "pool").iterdir())


def test_an_interrupted_run_goes_on_with_what_is_missing(
    make: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make()
    before = _files(folder)
    times = {path.name: path.stat().st_mtime_ns for path in folder.glob("teacher_00.*")}
    for lost in ("teacher_01.safetensors", "teacher_01.json", "pool.json"):
        (folder / lost).unlink()
    capsys.readouterr()
    make()
    assert _files(folder) == before
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("teacher_00.*")} == times
    assert "2 teachers" in (shown := capsys.readouterr().out)
    assert "(1 were there already)" in shown


def test_a_run_killed_before_pool_json_was_written_is_completed(make: Callable[..., Path]) -> None:
    folder = make()
    before = _files(folder)
    (folder / "pool.json").unlink()
    make()
    assert _files(folder) == before


def test_a_damaged_teacher_is_made_again(make: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = make()
    before = _files(folder)
    (folder / "teacher_01.safetensors").write_bytes(before["teacher_01.safetensors"][:500])
    make()
    assert _files(folder) == before
    assert "truncated or damaged" in capsys.readouterr().out


def test_more_random_teachers_extend_a_pool(make: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    make(teachers=1, epochs=1)
    folder = make(teachers=2, epochs=1)
    assert [record.name for record in read_manifest(folder).teachers] == ["teacher_00", "teacher_01"]
    assert "(1 were there already)" in capsys.readouterr().out


def test_teachers_made_with_other_settings_are_never_overwritten(make: Callable[..., Path]) -> None:
    folder = make(epochs=1)
    before = _files(folder)
    with pytest.raises(PurerError, match="holds a teacher_00 made with epochs 1, but this run asks for 2"):
        make(epochs=2)
    assert _files(folder) == before


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


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"way": 8}, "Expected `way` between 2 and the 7 classes"),
        ({"teachers": 0}, "'disjoint' or a number of at least 1, but got 0"),
        ({"architectures": ["conv4", "resnet1"]}, "got 'resnet1'. Did you mean"),
        ({"arguments": {"widht": 4}}, "do not fit conv4"),
        ({"dataset": "shadows"}, "'shadows' is not prepared"),
        ({"epochs": 0}, "at least 1 epoch"),
        ({"device": "cpux"}, "Cannot compute on `device` 'cpux'"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_made(
    make: Callable[..., Path], tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(PurerError, match=sentence):
        make(**changes)
    assert not (tmp_path / "pool").exists()


def test_a_pool_for_other_images_or_of_another_name_is_left_alone(make: Callable[..., Path], tmp_path: Path) -> None:
    store(tmp_path / "pool", "teacher_00", [0, 1])
    with pytest.raises(PurerError, match="holds a teacher_00 made with dataset None, but this run asks for shades"):
        make()
    prepare_pictures(tmp_path / "large", image_size=32)
    with pytest.raises(PurerError, match="share one image_size: the pool has 16, but data set shades has 32"):
        make(root=str(tmp_path / "large"))


def test_new_teachers_take_the_normalisation_of_the_pool_that_they_enter(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    prepare_pictures(tmp_path / "other")
    path = tmp_path / "other" / "shades" / "dataset.json"
    path.write_text(path.read_text().replace("0.25", "0.5"))
    store(tmp_path / "pool", "mine", [0, 1])
    assert load_pool(make(root=str(tmp_path / "other"), epochs=1)).normalisation == NORMALISATION


def test_a_folder_that_cannot_be_made_is_named(make: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PurerError, match=r"Cannot make the pool's folder .*file/pool"):
        make("file/pool")


def test_the_shipped_config_has_the_arguments_of_pretrain_and_the_papers_values() -> None:
    parser = ArgumentParser()
    parser.add_function_arguments(pretrain)
    text = (files("purer_lightning") / "configs" / "cifar_fs_pool.yaml").read_text(encoding="utf-8")
    shipped = parser.instantiate(parser.parse_string(text))
    assert shipped.recipe == TeacherRecipe()
    assert (shipped.dataset, shipped.teachers, shipped.way, shipped.epochs) == ("cifar_fs", "disjoint", 5, 60)
    assert shipped.architectures == ["conv4"]
