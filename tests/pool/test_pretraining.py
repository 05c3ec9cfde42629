"""Pre-training a pool: the same bits whoever makes a teacher, and going on where a run was."""

import pickle
import signal
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser

from pool.pools import NORMALISATION, prepare_pictures, store
from purer_lightning.errors import PurerError
from purer_lightning.pool.checks import check
from purer_lightning.pool.manifest import read_manifest
from purer_lightning.pool.pretraining.command import pretrain, teacher_classes, tell
from purer_lightning.pool.pretraining.jobs import Finished
from purer_lightning.pool.pretraining.recipe import TeacherRecipe
from purer_lightning.pool.teachers import load_pool


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


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    def pressed() -> Iterator[Finished]:
        yield Finished("teacher_00", "conv4", 0.5, 1.0)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(PurerError, match=f"same settings goes on with what is missing in '{tmp_path}'"):
        tell(pressed(), 2, 0, tmp_path)


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
