"""CIFAR-FS from its public layouts."""

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from picture_folders import cifar_members, png, write_tar, write_zip
from purer_lightning.data.archives import open_pictures
from purer_lightning.data.cifar import arrange_cifar_fs, cifar_fs_split, read_cifar_tar
from purer_lightning.data.folders import read_tree
from purer_lightning.data.metadata import read_dataset
from purer_lightning.data.preparation import prepare
from purer_lightning.data.splits import open_split
from purer_lightning.errors import PurerError

NAMES = sorted(name for split in cifar_fs_split().values() for name in split)


@pytest.fixture(scope="module")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tar(tmp_path_factory.mktemp("source") / "cifar-100-python.tar.gz", cifar_members())


def cifar_files(layout: str) -> dict[str, bytes]:
    """Return the pictures of `cifar_members`, of 32 x 32 pixels, as files."""
    split_of = {name: split for split, names in cifar_fs_split().items() for name in names}
    return {
        layout.format(split=split_of[name], name=name) + f"/{name}_s_{i:06d}.png": png((k, i, 7), (32, 32))
        for k, name in enumerate(NAMES)
        for i in range(3)
    }


def same_data(one: Path, other: Path) -> bool:
    return all((one / f"{s}.npy").read_bytes() == (other / f"{s}.npy").read_bytes() for s in ("train", "val", "test"))


def test_the_bundled_split_is_64_16_20_disjoint_sorted_classes() -> None:
    split = cifar_fs_split()
    assert {name: len(classes) for name, classes in split.items()} == {"train": 64, "val": 16, "test": 20}
    assert len(set(NAMES)) == 100
    assert all(classes == sorted(classes) for classes in split.values())


def test_every_label_of_the_tar_means_its_own_pictures(tar: Path) -> None:
    tree = read_cifar_tar(tar)
    for k, name in enumerate(NAMES):
        pixels = [np.asarray(picture.load()) for picture in tree.classes[name]]
        assert [tuple(p[0, 0]) for p in pixels] == [(k, i, 7) for i in range(3)]  # sorted by file name
        assert all((p[:-1] == p[0, 0]).all() and p.shape == (32, 32, 3) for p in pixels)


def test_rows_of_the_tar_are_red_then_green_then_blue_row_by_row(tmp_path: Path) -> None:
    members = cifar_members()
    train = pickle.loads(members["train"])
    train[b"data"][0] = np.arange(3072) % 251
    tree = read_cifar_tar(write_tar(tmp_path / "c.tar.gz", members | {"train": pickle.dumps(train)}))
    name = train[b"filenames"][0].decode()
    picture = next(p for pictures in tree.classes.values() for p in pictures if p.where.endswith(f" {name}"))
    expected = (np.arange(3072) % 251).reshape(3, 32, 32)
    assert np.array_equal(np.asarray(picture.load()).transpose(2, 0, 1), expected)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_arrays_of_any_pickle_protocol_are_read(tmp_path: Path, protocol: int) -> None:
    members = {name: pickle.dumps(pickle.loads(data), protocol=protocol) for name, data in cifar_members().items()}
    assert len(read_cifar_tar(write_tar(tmp_path / "c.tar.gz", members)).classes) == 100


def test_tar_zip_and_folders_give_the_same_files(tar: Path, tmp_path: Path) -> None:
    write_zip(tmp_path / "flat.zip", cifar_files("cifar100/data/{name}"))
    for name, data in cifar_files("{split}/{name}").items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(data)
    made = [
        prepare("cifar_fs", root=str(tmp_path / source.name[:4] / "root"), source=str(source), images_per_class=3)
        for source in (tar, tmp_path / "flat.zip", tmp_path / "tree")
    ]
    assert same_data(made[0], made[1])
    assert same_data(made[0], made[2])
    val = open_split(made[0].parent, "cifar_fs", "val")
    assert val.class_names == tuple(cifar_fs_split()["val"])
    assert val.class_ids == tuple(range(64, 80))
    assert val.of_class(3)[:, :, 9, 9].tolist() == [[NAMES.index(val.class_names[3]), i, 7] for i in range(3)]


def test_source_names_and_hashes_are_recorded(tar: Path, tmp_path: Path) -> None:
    folder = prepare("cifar_fs", root=str(tmp_path), source=str(tar), images_per_class=3)
    (source,) = read_dataset(folder / "dataset.json").sources
    assert source.file == "cifar-100-python.tar.gz"
    assert source.sha256 == hashlib.sha256(tar.read_bytes()).hexdigest()


class Bomb:
    """Makes a file when it is unpickled without care."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "executed"
    bomb = pickle.dumps({b"fine_label_names": Bomb(trace)}, protocol=protocol)
    source = write_tar(tmp_path / "cifar-100-python.tar.gz", cifar_members() | {"meta": bomb})
    with pytest.raises(PurerError, match=r"meta, but its pickle asks for '(posix|nt|os)\.mkdir', which .* was refused"):
        prepare("cifar_fs", root=str(tmp_path / "root"), source=str(source))
    assert not trace.exists()
    assert not (tmp_path / "root").exists()
    pickle.loads(bomb)
    assert trace.exists()  # the pickle would have done it


@pytest.mark.parametrize(
    "name", [("builtins", "eval"), ("numpy", "load"), ("numpy.core.multiarray", "fromfile"), ("_codecs", "decode")]
)
def test_no_name_but_those_that_rebuild_arrays_is_found(tmp_path: Path, name: tuple[str, str]) -> None:
    call = b"c" + "\n".join(name).encode() + b"\n."  # the pickle that is this global
    source = write_tar(tmp_path / "c.tar.gz", cifar_members() | {"train": call})
    with pytest.raises(PurerError, match="was refused"):
        read_cifar_tar(source)


@pytest.mark.parametrize("part", [0.3, 0.9])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_half_copied_archive_is_one_sentence_and_leaves_nothing(
    tar: Path, tmp_path: Path, kind: str, part: float
) -> None:
    whole = tar if kind == "tar" else write_zip(tmp_path / "whole.zip", cifar_files("cifar100/data/{name}"))
    half = tmp_path / f"half.{kind}"
    half.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * part)])
    with pytest.raises(PurerError) as error:
        prepare("cifar_fs", root=str(tmp_path / "root"), source=str(half), images_per_class=3)
    assert str(half) in str(error.value)
    assert f"({half.stat().st_size:,} bytes)" in str(error.value)
    assert "half copied or half downloaded; get it again." in str(error.value)
    assert not (tmp_path / "root").exists()


def test_a_damaged_picture_stops_the_preparation_and_leaves_nothing(tmp_path: Path) -> None:
    files = cifar_files("cifar100/data/{name}")
    bad = next(name for name in files if "/worm/" in name)
    source = write_zip(tmp_path / "c.zip", files | {bad: files[bad][:40]})
    with pytest.raises(PurerError, match=f"{bad}, but it cannot be read"):
        prepare("cifar_fs", root=str(tmp_path / "root"), source=str(source), images_per_class=3)
    assert list((tmp_path / "root").iterdir()) == []


def test_missing_pictures_classes_and_foreign_ones_are_named(tmp_path: Path) -> None:
    files = cifar_files("{name}")
    fewer = {name: data for name, data in files.items() if name != "bee/bee_s_000001.png"}
    without = {name: data for name, data in files.items() if not name.startswith("bee/")}
    cases = {
        "3 pictures of class 'bee' in .*, but found 2": fewer,
        "pictures of class 'bee' .train split. in .* there are none": without,
        "100 classes of CIFAR-100 in .*, but found 'zebra'": files | {"zebra/1.png": png((1, 2, 3))},
    }
    for number, (message, content) in enumerate(cases.items()):
        source = write_zip(tmp_path / f"{number}.zip", content)
        with pytest.raises(PurerError, match=message):
            prepare("cifar_fs", root=str(tmp_path / "root"), source=str(source), images_per_class=3)


def test_a_tree_whose_splits_are_not_those_of_cifar_fs_is_refused(tmp_path: Path) -> None:
    files = cifar_files("{split}/{name}")
    moved = {name.replace("train/bee/", "val/bee/"): data for name, data in files.items()}
    with pytest.raises(PurerError, match=r"Expected class 'bee' in train/, as in CIFAR-FS, but .* has it in val/"):
        prepare(
            "cifar_fs",
            root=str(tmp_path / "root"),
            source=str(write_zip(tmp_path / "c.zip", moved)),
            images_per_class=3,
        )


def test_tables_of_another_shape_are_one_sentence(tmp_path: Path) -> None:
    members = cifar_members()
    for table in ({b"data": np.zeros((3, 5), np.uint8)}, {b"data": [1]}, {}, [1, 2]):
        source = write_tar(tmp_path / "c.tar.gz", members | {"train": pickle.dumps(table)})
        with pytest.raises(PurerError, match=r"Expected CIFAR-100's tables .* get the archive again"):
            read_cifar_tar(source)
    with pytest.raises(PurerError, match=r"Expected a pickle in .* meta, but it is damaged"):
        read_cifar_tar(write_tar(tmp_path / "c.tar.gz", members | {"meta": members["meta"][:-20]}))
    with pytest.raises(PurerError, match="Expected cifar-100-python/meta in"):
        read_cifar_tar(write_tar(tmp_path / "c.tar.gz", {"train": b"", "test": b""}))


def test_the_real_archive_has_the_bundled_classes_and_whole_pictures(sources: Path) -> None:
    with open_pictures(sources / "cifar100.zip") as files:
        splits = arrange_cifar_fs(read_tree(files, "cifar100.zip"), 600, "cifar100.zip")
        assert {name: list(classes) for name, classes in splits.items()} == cifar_fs_split()
        for classes in splits.values():
            for pictures in list(classes.values())[:3]:
                assert pictures[0].load().size == (32, 32)
                assert len(pictures[599].load().tobytes()) == 3072
