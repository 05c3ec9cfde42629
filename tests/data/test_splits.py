"""A prepared data set on disk, and how it is opened."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from picture_folders import small_dataset
from purer_lightning.data.splits import open_split
from purer_lightning.errors import PurerError


def test_opening_maps_the_file_and_copies_nothing(tmp_path: Path) -> None:
    split = open_split(small_dataset(tmp_path), "small", "train")
    assert isinstance(split.images, np.memmap)
    assert split.images.dtype == np.uint8
    assert split.images.shape == (len(split.class_ids) * 8, 3, 8, 8)
    assert not split.images.flags.writeable


def test_pickling_a_split_sends_no_pictures(tmp_path: Path) -> None:
    split = open_split(small_dataset(tmp_path, per_class=50), "small", "train")
    sent = pickle.dumps(split)
    assert len(sent) < 1000 < split.images.nbytes
    again = pickle.loads(sent)
    assert isinstance(again.images, np.memmap)
    assert np.array_equal(again.images, split.images)


def test_splits_are_disjoint_and_ids_run_on_over_sorted_names(tmp_path: Path) -> None:
    root = small_dataset(tmp_path)
    splits = [open_split(root, "small", name) for name in ("train", "val", "test")]
    assert [len(split.class_ids) for split in splits] == [8, 2, 2]
    assert [i for split in splits for i in split.class_ids] == list(range(12))
    assert all(list(split.class_names) == sorted(split.class_names) for split in splits)
    assert len({name for split in splits for name in split.class_names}) == 12


def test_pictures_are_those_of_the_named_class_and_slots(tmp_path: Path) -> None:
    split = open_split(small_dataset(tmp_path), "small", "train")
    for position, name in enumerate(split.class_names):
        everything = split.of_class(position)
        assert everything.shape == (8, 3, 8, 8)
        assert everything.dtype == torch.uint8
        assert (everything[:, 0, :-1] == int(name[1:])).all()
        assert everything[:, 1, 0, 0].tolist() == list(range(8))
        assert torch.equal(split.pictures(position, torch.tensor([5, 2])), everything[[5, 2]])


@pytest.mark.parametrize("slots", [[-1], [0, 8]])
def test_a_slot_outside_the_class_never_gives_its_neighbours_picture(tmp_path: Path, slots: list[int]) -> None:
    split = open_split(small_dataset(tmp_path), "small", "train")
    with pytest.raises(IndexError):
        split.pictures(1, torch.tensor(slots))


def test_normalisation_is_that_of_the_train_pixels_alone(tmp_path: Path) -> None:
    root = small_dataset(tmp_path)
    train = open_split(root, "small", "train")
    pixels = train.images.transpose(1, 0, 2, 3).reshape(3, -1) / 255
    assert np.allclose(train.normalisation.mean, pixels.mean(1), atol=1e-12)
    assert np.allclose(train.normalisation.std, pixels.std(1), atol=1e-12)
    assert open_split(root, "small", "test").normalisation == train.normalisation


def test_a_missing_data_set_names_the_place_the_others_and_the_command(tmp_path: Path) -> None:
    root = small_dataset(tmp_path)
    with pytest.raises(PurerError) as error:
        open_split(root, "smal", "train")
    assert str(root / "smal" / "dataset.json") in str(error.value)
    assert "Did you mean 'small'?" in str(error.value)
    assert f"`purer data prepare folder --source FOLDER --name smal --root {root}`" in str(error.value)
    with pytest.raises(PurerError, match=r"`purer data prepare cifar_fs --source cifar-100-python\.tar\.gz --root"):
        open_split(root, "cifar_fs", "train")


def test_an_unknown_split_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(PurerError, match=r"among train, val, test, but got 'tests'\. Did you mean 'test'\?"):
        open_split(tmp_path, "small", "tests")


@pytest.mark.parametrize("keep", [0, 100, 1000])
def test_a_half_copied_file_is_told_by_its_size(tmp_path: Path, keep: int) -> None:
    root = small_dataset(tmp_path)
    file = root / "small" / "train.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:keep])
    with pytest.raises(PurerError) as error:
        open_split(root, "small", "train")
    assert f"{file} to have {len(whole):,} bytes" in str(error.value)
    assert f"but it has {keep:,}: copy it again" in str(error.value)


def test_a_missing_or_foreign_file_is_one_sentence(tmp_path: Path) -> None:
    root = small_dataset(tmp_path)
    file = root / "small" / "val.npy"
    size = file.stat().st_size
    file.write_bytes(b"x" * size)
    with pytest.raises(PurerError, match="Expected a NumPy array in"):
        open_split(root, "small", "val")
    file.unlink()
    with pytest.raises(PurerError, match="but it is missing: copy it again"):
        open_split(root, "small", "val")


def test_a_damaged_or_newer_description_is_one_sentence(tmp_path: Path) -> None:
    root = small_dataset(tmp_path)
    file = root / "small" / "dataset.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"format": 9}))
    with pytest.raises(PurerError, match=r"Expected format 1 in .* but found 9"):
        open_split(root, "small", "train")
    file.write_text(file.read_text()[:50])
    with pytest.raises(PurerError, match="copy the folder again, or prepare"):
        open_split(root, "small", "train")
    del content["splits"]["val"]
    file.write_text(json.dumps(content))
    with pytest.raises(PurerError, match="expected the splits train, val, test, but found train, test"):
        open_split(root, "small", "train")
