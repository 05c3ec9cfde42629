"""Zip archives and folders as other systems write them: names, files that are no pictures, splits, copies."""

import io
import json
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from picture_folders import png, write_tree, write_zip
from purer_lightning.data.archives import NO_PICTURE, SYSTEM_FILE, LeftOut, open_pictures
from purer_lightning.data.folders import split_named
from purer_lightning.data.preparation import prepare
from purer_lightning.data.splits import open_split
from purer_lightning.errors import PurerError

CAFE = "Café"
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, CAFE) for form in ("NFC", "NFD"))


class Unflagged(zipfile.ZipInfo):
    """An entry whose name is in some encoding that the archive does not say."""

    encoding = "utf-8"

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.filename.encode(self.encoding), self.flag_bits & ~0x800


def raw_zip(file: Path, names: list[str], encoding: str = "utf-8", extra: bytes = b"") -> Path:
    Unflagged.encoding = encoding
    with zipfile.ZipFile(file, "w") as archive:
        for number, name in enumerate(names):
            entry = Unflagged("x")
            entry.filename, entry.extra = name, extra
            archive.writestr(entry, png((number, 1, 2)))
    return file


def listed(source: Path, left_out: LeftOut | None = None) -> list[str]:
    with open_pictures(source, left_out) as files:
        assert all(file.picture.load().size == (8, 8) for file in files)
        return ["/".join(file.parts) for file in files]


def classes(root: Path, name: str) -> list[str]:
    return sorted(each for split in ("train", "val", "test") for each in open_split(root, name, split).class_names)


def test_names_in_utf8_that_the_archive_does_not_flag_are_read_as_such(tmp_path: Path) -> None:
    file = raw_zip(tmp_path / "mac.zip", [f"p/{DECOMPOSED}/1.png", "p/猫/1.png", "p/dog/1.png"])
    assert listed(file) == [f"p/{COMPOSED}/1.png", "p/dog/1.png", "p/猫/1.png"]


def test_a_name_in_utf8_beside_one_of_an_old_code_page_is_the_one_that_is_used(tmp_path: Path) -> None:
    name = "p/狗/1.png"
    field = b"\1" + bytes(4) + name.encode()
    extra = (0x7075).to_bytes(2, "little") + len(field).to_bytes(2, "little") + field
    assert listed(raw_zip(tmp_path / "t.zip", [name], "gbk", extra)) == [name]


@pytest.mark.parametrize("encoding", ["gbk", "cp1252", "cp437"])
def test_folders_named_in_an_unknown_code_page_are_refused(encoding: str, tmp_path: Path) -> None:
    name = "狗" if encoding == "gbk" else CAFE
    with pytest.raises(PurerError, match="is in an older code page, and the archive does not say in which"):
        listed(raw_zip(tmp_path / "t.zip", [f"p/{name}/1.png"], encoding))


def test_backslashes_drives_and_leading_slashes_are_read_as_paths(tmp_path: Path) -> None:
    names = ["p\\cat\\1.png", "C:\\p\\cat\\2.png", "/p/cat/3.png", "./p//cat/4.png"]
    assert listed(raw_zip(tmp_path / "t.zip", names)) == [f"p/cat/{n}.png" for n in range(1, 5)]


@pytest.mark.parametrize("name", ["../cat/1.png", "p\\..\\..\\cat\\1.png"])
def test_a_path_that_leads_out_of_the_archive_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(PurerError, match="leads out of it"):
        listed(raw_zip(tmp_path / "t.zip", [name]))


def test_an_archive_that_is_no_zip_is_refused_for_what_it_is(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("cat/1.png"), io.BytesIO())
    with pytest.raises(PurerError, match="but found a gzip archive: unpack it"):
        prepare("folder", root=str(tmp_path), source=str(tmp_path / "t.tar.gz"))


def test_one_name_in_two_normal_forms_is_one_class(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", [COMPOSED, DECOMPOSED, "dog", "fox"], 1)
    split = {"train": ["dog"], "val": ["fox"], "test": [DECOMPOSED]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    for arguments in ({}, {"split_file": str(tmp_path / "split.json")}):
        prepare("folder", root=str(tmp_path / "r"), source=str(tmp_path / "t"), image_size=8, **arguments)  # type: ignore[arg-type]
        assert classes(tmp_path / "r", "t") == [COMPOSED, "dog", "fox"]
    assert open_split(tmp_path / "r", "t", "test").total == 2


@pytest.mark.parametrize("packed", [False, True])
def test_pictures_are_told_by_first_bytes_where_the_suffix_does_not_tell(packed: bool, tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "BMP")
    files = {"cat/1": png((1, 2, 3)), "cat/2.dat": stream.getvalue(), "cat/3.PNG": png((1, 2, 4))}
    files |= {"cat/4.heic": b"\0\0\0\x18ftypheic", "cat/BMW": b"BMW makes cars", "cat/5.txt": b"words", "cat/6": b""}
    files |= {"cat/.DS_Store": b"x", "cat/Thumbs.db": b"x", "__MACOSX/cat/._1": b"x"}
    source = tmp_path / "t"
    if packed:
        source = write_zip(tmp_path / "t.zip", files)
    else:
        for name, data in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(data)
    left_out: LeftOut = {}
    assert listed(source, left_out) == ["cat/1", "cat/2.dat", "cat/3.PNG"]
    names = {reason: [where.split(": ")[1] for where in files] for reason, files in left_out.items()}
    assert names == {
        NO_PICTURE: ["cat/4.heic", "cat/5.txt", "cat/6", "cat/BMW"],
        SYSTEM_FILE: ["__MACOSX/cat/._1", "cat/.DS_Store", "cat/Thumbs.db"],
    }


def test_files_and_folders_that_are_not_used_are_counted_and_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = write_tree(tmp_path / "t", ["ant", "bee", "cat"], 2)
    (source / "fox").mkdir()
    (source / "nothing").mkdir()
    for number in range(4):
        (source / "fox" / f"{number}.heic").write_bytes(b"x")
    (source / "loose.png").write_bytes(png((9, 9, 9)))
    (source / "ant" / "1.png").write_bytes(b"\x89PNG cut")
    prepare("folder", root=str(tmp_path / "r"), source=str(source), image_size=8)
    said = capfd.readouterr().err
    assert "4 files: t: fox/0.heic, t: fox/1.heic, t: fox/2.heic, ..." in said
    assert "No picture is in the folders t: fox." in said
    assert "for the folder has no file: 1 file: t: nothing" in said
    assert "for it lies in no class folder: 1 file: t: loose.png" in said
    assert "for it cannot be read: t: ant/1.png (not a picture" in said


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        *(
            (name, "train")
            for name in ("train", "Train", "TRAINING", "meta-train", "metatrain", "seg_train", "trainset")
        ),
        *((name, "val") for name in ("Val", "valid", "validation", "meta_val", "images_val", "val2017")),
        *((name, "test") for name in ("Test", "testing", "test_set", "02-test")),
        *((name, None) for name in ("trainer", "steam train", "cat", "valley", "contest", "metal", "train_test", "")),
    ],
)
def test_a_split_is_known_by_any_usual_spelling(folder: str, split: str | None) -> None:
    assert split_named(folder) == split


@pytest.mark.parametrize(
    "spelt", [("Train", "Val", "Test"), ("training", "validation", "testing"), ("meta-train", "meta-val", "meta-test")]
)
def test_splits_of_another_spelling_are_kept_or_refused_and_never_classes(
    spelt: tuple[str, str, str], tmp_path: Path
) -> None:
    disjoint = write_tree(tmp_path / "good", [f"{spelt[0]}/a", f"{spelt[1]}/b", f"{spelt[2]}/c"], 2)
    prepare("folder", root=str(tmp_path / "r"), source=str(disjoint), image_size=8)
    assert [open_split(tmp_path / "r", "good", s).class_names for s in ("train", "val", "test")] == [
        ("a",),
        ("b",),
        ("c",),
    ]
    shared = write_tree(tmp_path / "bad", [f"{split}/{name}" for split in spelt for name in "abcd"], 1)
    with pytest.raises(PurerError, match=r"disjoint classes .* but 'a' is in two of them"):
        prepare("folder", root=str(tmp_path / "r"), source=str(shared), image_size=8)
    split = {"train": ["a", "d"], "val": ["b"], "test": ["c"]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    file = str(tmp_path / "split.json")
    prepare("folder", root=str(tmp_path / "r"), source=str(shared), image_size=8, split_file=file)
    assert open_split(tmp_path / "r", "bad", "test").total == 3


def test_splits_within_class_folders_are_refused(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "t", [f"{name}/{split}" for name in "abc" for split in ("Train", "Test")], 1)
    with pytest.raises(PurerError, match="'a/Test' and 'a/Train' are parts of one class"):
        prepare("folder", root=str(tmp_path / "r"), source=str(source), image_size=8)


def test_copies_are_found_whatever_their_names_and_formats(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write_tree(tmp_path / "t", ["train/a", "train/b", "val/c", "test/d"], 2)
    Image.open(source / "train/a/0.png").save(source / "test/d/other.bmp")
    (source / "train/b/copy.png").write_bytes((source / "train/a/1.png").read_bytes())
    (source / "val/c/copy.png").write_bytes((source / "val/c/0.png").read_bytes())
    prepare("folder", root=str(tmp_path / "r"), source=str(source), image_size=8)
    said = capfd.readouterr().err
    assert "1 with the same pixels in more than one split" in said
    assert "one is t: test/d/other.bmp, a copy of t: train/a/0.png" in said
    assert "1 with the same pixels in more than one class" in said
    assert "1 with the same pixels more than once in a class" in said


@pytest.mark.parametrize("name", ["1e3", "no", "null", "2020-01-01", "01"])
def test_folders_keep_names_that_yaml_would_read_as_something_else(name: str, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "t", [name, "dog", "fox"], 1)
    prepare("folder", root=str(tmp_path / "r"), source=str(source), image_size=8)
    assert classes(tmp_path / "r", "t") == sorted([name, "dog", "fox"])


@pytest.mark.parametrize("value", ["1e3", "null", "true"])
def test_a_split_file_whose_names_are_not_in_quotes_is_refused(value: str, tmp_path: Path) -> None:
    source = write_tree(tmp_path / "t", ["a", "b", "c"], 1)
    (tmp_path / "split.json").write_text('{"train": [' + value + '], "val": ["b"], "test": ["c"]}')
    with pytest.raises(PurerError, match="put class names in quotes"):
        prepare("folder", root=str(tmp_path / "r"), source=str(source), split_file=str(tmp_path / "split.json"))
