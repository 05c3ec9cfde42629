"""From one's own class folders to a prepared data set."""

import json
from itertools import chain
from pathlib import Path

import pytest

from picture_folders import png, write_tree, write_zip
from purer_lightning.data.folders import seeded_split
from purer_lightning.data.metadata import read_dataset, source_of
from purer_lightning.data.preparation import prepare
from purer_lightning.data.splits import open_split
from purer_lightning.errors import PurerError

CLASSES = [f"class{i:02d}" for i in range(10)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "photos", CLASSES, 4)


def names(root: Path, dataset: str) -> dict[str, tuple[str, ...]]:
    return {split: open_split(root, dataset, split).class_names for split in ("train", "val", "test")}


def test_the_data_set_is_named_after_its_folder_unless_told(tree: Path, tmp_path: Path) -> None:
    assert prepare("folder", root=str(tmp_path / "root"), source=str(tree), image_size=8) == tmp_path / "root/photos"
    assert prepare("folder", root=str(tmp_path / "root"), source=str(tree), image_size=8, name="mine").name == "mine"
    with pytest.raises(PurerError, match=r"`name` to be of letters, .* but got '\.\./mine'"):
        prepare("folder", root=str(tmp_path / "root"), source=str(tree), name="../mine")


def test_folders_above_all_classes_count_for_nothing_and_deeper_classes_keep_their_path(tmp_path: Path) -> None:
    flat = {f"photos/{name}/{i}.png": png((i, k, k + i)) for k, name in enumerate("abc") for i in range(2)}
    prepare("folder", root=str(tmp_path), source=str(write_zip(tmp_path / "flat.zip", flat)), image_size=8)
    assert sorted(chain(*names(tmp_path, "flat").values())) == ["a", "b", "c"]
    deep = {f"x/{group}/{name}/1.png": png((k, 2 * k, 3)) for group in "ab" for k, name in enumerate(("c", "d"))}
    deep["x/a/c/2.png"] = png((9, 9, 9))
    prepare("folder", root=str(tmp_path), source=str(write_zip(tmp_path / "deep.zip", deep)), image_size=8)
    assert sorted(chain(*names(tmp_path, "deep").values())) == ["a/c", "a/d", "b/c", "b/d"]


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "t", ["bus", "train", "tram"], 2)
    prepare("folder", root=str(tmp_path / "root"), source=str(source), image_size=8)
    assert sorted(chain(*names(tmp_path / "root", "t").values())) == ["bus", "train", "tram"]


def test_a_tree_in_splits_keeps_them(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "t", ["train/b", "train/a", "val/d", "test/c"], 2)
    prepare("folder", root=str(tmp_path / "root"), source=str(source), image_size=8)
    assert names(tmp_path / "root", "t") == {"train": ("a", "b"), "val": ("d",), "test": ("c",)}


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["train/a", "train/b", "val/a", "test/c"], "disjoint classes .* but 'a' is in two of them: give one folder"),
        (["train/a", "train/b", "test/c"], "but val/ has none"),
        (["train/a", "val/b", "test/c", "extra/d"], "but 'extra/d' is not: move it"),
        (["a", "b"], "at least 3 classes"),
        (["a"], "Expected one folder of pictures a class"),
    ],
)
def test_trees_that_are_no_few_shot_data_set_are_refused(tmp_path: Path, classes: list[str], message: str) -> None:
    source = write_tree(tmp_path / "t", classes, 2)
    with pytest.raises(PurerError, match=message):
        prepare("folder", root=str(tmp_path / "root"), source=str(source))
    assert not (tmp_path / "root").exists()


def test_a_split_file_decides_and_leaves_out_what_it_does_not_name(tree: Path, tmp_path: Path) -> None:
    split = {"train": ["class05", "class01"], "val": ["class02"], "test": ["class09", "class03"]}
    file = tmp_path / "split.json"
    file.write_text(json.dumps(split))
    prepare("folder", root=str(tmp_path / "root"), source=str(tree), image_size=8, split_file=str(file))
    assert names(tmp_path / "root", "photos") == {
        "train": ("class01", "class05"),
        "val": ("class02",),
        "test": ("class03", "class09"),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"train": ["class01"], "val": ["class01"], "test": ["class02"]}', "'class01' is there twice"),
        ('{"train": ["class01"], "val": ["klass02"], "test": ["class03"]}', "'klass02' .* Did you mean 'class02'?"),
        ('{"train": ["class01"], "val": [], "test": ["class03"]}', "at least one class for the val split"),
        ('{"train": ["class01"]}', "but could not read that .KeyError: 'val'."),
        ("train: class01", "but could not read that .JSONDecodeError"),
    ],
)
def test_a_wrong_split_file_is_one_sentence(tree: Path, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "split.json").write_text(content)
    with pytest.raises(PurerError, match=message):
        prepare("folder", root=str(tmp_path), source=str(tree), split_file=str(tmp_path / "split.json"))


def test_a_seeded_split_is_a_partition_that_the_seed_decides() -> None:
    classes = [f"{i:03d}" for i in range(50)]
    split = seeded_split(reversed(classes), (0.64, 0.16, 0.2), 3)
    assert [len(members) for members in split.values()] == [32, 8, 10]
    assert sorted(chain(*split.values())) == classes
    assert split == seeded_split(classes, (0.64, 0.16, 0.2), 3) != seeded_split(classes, (0.64, 0.16, 0.2), 4)
    for few in range(3, 12):
        assert all(seeded_split(classes[:few], (0.9, 0.05, 0.05), 0).values())
    for fractions in ((0.5, 0.5, 0.5), (1.0, 0.0, 0.0), (0.5, 0.5)):
        with pytest.raises(PurerError, match="three positive numbers"):
            seeded_split(classes, fractions, 0)


def test_a_corrupt_picture_among_good_ones_is_named_skipped_and_counted(
    tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tree / "class03" / "1.png").write_bytes(b"no picture")
    (tree / "class07" / "0.png").write_bytes((tree / "class07" / "0.png").read_bytes()[:50])
    (tree / "class07" / "notes.txt").write_text("no picture, and none by its name")
    folder = prepare("folder", root=str(tmp_path / "root"), source=str(tree), image_size=8)
    record = read_dataset(folder / "dataset.json")
    assert sorted(record.skipped) == ["photos: class03/1.png", "photos: class07/0.png"]
    counts = {n: c for split in record.splits.values() for n, c in zip(split.class_names, split.counts, strict=True)}
    assert counts == {name: 3 if name in ("class03", "class07") else 4 for name in CLASSES}
    said = capfd.readouterr().err
    assert "photos: class03/1.png" in said
    assert "2 unreadable pictures were left out" in said
    for split in ("train", "val", "test"):
        opened = open_split(tmp_path / "root", "photos", split)
        assert len(opened.images) == opened.counts.sum()
        for position, name in enumerate(opened.class_names):
            assert (opened.of_class(position)[:, 0, :-1] == CLASSES.index(name)).all()


def test_a_class_without_a_readable_picture_is_an_error_and_leaves_nothing(tree: Path, tmp_path: Path) -> None:
    for file in (tree / "class03").iterdir():
        file.write_bytes(b"no picture")
    with pytest.raises(PurerError, match="readable pictures of class 'class03', but none of 4 is"):
        prepare("folder", root=str(tmp_path / "root"), source=str(tree), image_size=8)
    assert list((tmp_path / "root").iterdir()) == []


def test_the_same_source_is_not_prepared_twice_but_a_changed_or_damaged_one_is(tree: Path, tmp_path: Path) -> None:
    def made(seed: int = 0) -> int:
        folder = prepare("folder", root=str(tmp_path / "root"), source=str(tree), image_size=8, seed=seed)
        return (folder / "dataset.json").stat().st_ino

    first = made()
    assert made() == first
    file = tmp_path / "root" / "photos" / "val.npy"
    file.write_bytes(file.read_bytes()[:-1])
    second = made()
    assert second != first
    third = made(seed=5)
    assert third != second
    (tree / "class00" / "0.png").write_bytes(png((99, 99, 99)))
    assert made(seed=5) != third


def test_a_failing_preparation_leaves_the_former_data_set_as_it_was(tree: Path, tmp_path: Path) -> None:
    folder = prepare("folder", root=str(tmp_path / "root"), source=str(tree), image_size=8)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    for file in (tree / "class03").iterdir():
        file.write_bytes(b"no picture")
    with pytest.raises(PurerError):
        prepare("folder", root=str(tmp_path / "root"), source=str(tree), image_size=8)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [entry.name for entry in (tmp_path / "root").iterdir()] == ["photos"]


def test_files_of_two_preparations_are_never_taken_for_one_data_set(tree: Path, tmp_path: Path) -> None:
    folder = prepare("folder", root=str(tmp_path / "root"), source=str(tree), image_size=8)
    (folder / "val.npy").unlink()
    (folder / "val.npy").mkdir()  # stops the second preparation after it has put its train.npy in place
    with pytest.raises(PurerError, match="Expected to write the data set into"):
        prepare("folder", root=str(tmp_path / "root"), source=str(tree), image_size=8, seed=1)
    with pytest.raises(PurerError, match="is not prepared"):
        open_split(tmp_path / "root", "photos", "train")


def test_a_folders_hash_is_that_of_its_sha256sum_listing_and_sees_names(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"abc")
    digest = source_of(tmp_path / "d").sha256
    # printf abc > a; sha256sum a | sha256sum
    assert digest == "60eb527cba799edb93b30ea27633d72a197c248cd40cf6f7647c93f98b8f9a32"
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    assert source_of(tmp_path / "d").sha256 != digest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"dataset": "cifar"},
            "cifar_fs, folder, glyphs, omniglot, but got 'cifar'. Did you mean 'cifar_fs'?",
        ),
        ({"dataset": "cifar_fs"}, "one `--source` .an archive or a folder. for cifar_fs, but got none"),
        ({"dataset": "glyphs", "source": "a"}, "no `--source` for glyphs, but got 1"),
        ({"dataset": "folder", "source": ["a", "b"]}, "one `--source` .* for folder, but got 2"),
        ({"dataset": "folder", "source": "/nowhere/photos"}, "at /nowhere/photos, but nothing is there"),
        ({"dataset": "glyphs", "split_file": "a"}, "for data sets of kind folder only"),
        ({"dataset": "glyphs", "image_size": 0}, "`image_size` to be at least 1, but got 0"),
    ],
)
def test_wrong_arguments_are_one_sentence(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(PurerError, match=message):
        prepare(root=str(tmp_path), **arguments)  # type: ignore[arg-type]


def test_a_root_that_cannot_be_written_is_one_sentence(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PurerError, match=r"Expected to write the data set into .*, but could not .* another --root"):
        prepare("folder", root=str(tmp_path / "file"), source=str(tree), image_size=8)


def test_train_pictures_of_one_colour_are_refused(tmp_path: Path) -> None:
    files = {f"{name}/1.png": png((255, 255, 255)) for name in "abc"}
    with pytest.raises(PurerError, match="Expected pictures that differ"):
        prepare("folder", root=str(tmp_path / "root"), source=str(write_zip(tmp_path / "t.zip", files)), image_size=8)


def test_nothing_hidden_or_left_by_macos_is_a_picture(tmp_path: Path) -> None:
    files = {f"{name}/1.png": png((k, 2 * k, 3 * k)) for k, name in enumerate("abc")}
    files |= {"__MACOSX/a/1.png": b"?", "a/._1.png": b"?", ".cache/d/1.png": b"?"}
    folder = prepare("folder", root=str(tmp_path), source=str(write_zip(tmp_path / "t.zip", files)), image_size=8)
    record = read_dataset(folder / "dataset.json")
    assert sum(sum(split.counts) for split in record.splits.values()) == 3
    assert record.skipped == []
