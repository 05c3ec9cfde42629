"""A user's own folders: which pictures are of which class, and which cannot be read."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picture_folders import png
from purer_lightning.adaptation.pictures import (
    find_query,
    find_support,
    in_batches,
    no_pictures,
    printable,
    read_pictures,
)
from purer_lightning.errors import PurerError

# Each writes a picture whose left half is dark and whose right half is light.
HALVES = np.repeat(np.array([[30] * 8 + [220] * 8], np.uint8), 16, axis=0)
GREY = Image.fromarray(HALVES)
WRITERS: dict[str, Callable[[Path], None]] = {
    "a.bmp": GREY.save,
    "a.jpg": lambda path: GREY.convert("RGB").resize((160, 160)).save(path, quality=95),
    "cmyk.jpg": lambda path: GREY.convert("CMYK").resize((160, 160)).save(path, quality=95),
    "a.webp": lambda path: GREY.convert("RGB").save(path, lossless=True),
    "a.gif": lambda path: GREY.save(path, save_all=True, append_images=[Image.new("L", (16, 16))] * 2),
    "animated.webp": lambda path: GREY.convert("RGB").save(
        path, save_all=True, append_images=[Image.new("RGB", (16, 16))], lossless=True
    ),
    "animated.png": lambda path: GREY.save(path, save_all=True, append_images=[Image.new("L", (16, 16))]),
    "deep.png": lambda path: Image.fromarray(HALVES.astype(np.uint16) * 257).save(path),
    "deep.tif": lambda path: Image.fromarray(HALVES.astype(np.uint16) * 257).save(path),
    "palette.png": lambda path: GREY.convert("RGB").quantize(4).save(path),
    "alpha.png": lambda path: Image.merge("LA", (Image.new("L", (16, 16)), Image.fromarray(255 - HALVES))).save(path),
    "rgba.png": lambda path: GREY.convert("RGBA").save(path),
    "TIFF.TIFF": lambda path: GREY.convert("RGB").save(path, compression="tiff_lzw"),
    "upside_down.jpg": lambda path: (
        GREY.transpose(Image.Transpose.ROTATE_180)
        .resize((160, 160))
        .save(
            path,
            exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x03\x00\x00\x00\x00\x00\x00",
        )
    ),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", WRITERS)
def test_a_picture_of_any_kind_is_what_the_eye_sees(name: str, channels: int, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    read = read_pictures(find_query([str(tmp_path)]), 16, channels)
    assert read.images is not None
    assert read.images.shape == (1, channels, 16, 16)
    assert read.skipped == []
    assert read.images[..., :7].max() < 70
    assert read.images[..., 9:].min() > 180


def test_pictures_of_a_class_lie_in_its_folder_at_any_depth(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/more/2.PNG", "dog/1.png", "stray.png", ".hidden/1.png", "__MACOSX/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png((1, 2, 3)))
    (tmp_path / "dog" / "notes.txt").write_text("no picture")
    found = find_support(tmp_path)
    assert {name: [str(p.path.relative_to(tmp_path)) for p in pictures] for name, pictures in found.items()} == {
        "cat": ["cat/1.png", "cat/more/2.PNG"],
        "dog": ["dog/1.png"],
    }


def test_class_folders_may_be_links(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").write_bytes(png((1, 2, 3)))
    (tmp_path / "support").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "support" / name).symlink_to(tmp_path / "elsewhere")
    assert [len(pictures) for pictures in find_support(tmp_path / "support").values()] == [1, 1]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], "one folder a class in '.*', each with a few pictures, but found none"),
        (["1.png"], "but found none"),
        (["cat/1.png"], "at least 2 class folders .* found only 'cat'"),
        (["cat/1.png", "dog/notes.txt"], "readable picture of class 'dog' in '.*dog', but none of its 1 files"),
    ],
)
def test_a_support_folder_that_cannot_be_learnt_from_is_refused(
    files: list[str], expected: str, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png((1, 2, 3)))
    with pytest.raises(PurerError, match=expected):
        find_support(tmp_path)


def test_a_support_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PurerError, match=r"found nothing at '.*gone'"):
        find_support(tmp_path / "gone")
    (tmp_path / "file").touch()
    with pytest.raises(PurerError, match="found a file at"):
        find_support(tmp_path / "file")


def test_queries_are_files_of_any_name_and_folders_at_any_depth(tmp_path: Path) -> None:
    for name in ("q/cat/1.png", "q/2.png", "without_suffix", "q/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png((1, 2, 3)))
    found = find_query([str(tmp_path / "without_suffix"), str(tmp_path / "q")])
    assert [(own.path.relative_to(tmp_path).as_posix(), own.folder) for own in found] == [
        ("without_suffix", None),
        ("q/2.png", None),
        ("q/cat/1.png", "cat"),
    ]


def test_queries_without_a_picture_or_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PurerError, match="found no file with a picture's suffix"):
        find_query([str(tmp_path)])
    with pytest.raises(PurerError, match=r"nothing is at '.*gone\.png'"):
        find_query([str(tmp_path / "gone.png")])


def test_damaged_pictures_among_good_ones_are_skipped_and_named(tmp_path: Path) -> None:
    whole = png((1, 2, 3), (64, 64))
    for name, content in (
        ("1.png", whole),
        ("2.png", b""),
        ("3.jpg", b"text"),
        ("4.png", whole[:60]),
        ("5.png", whole),
    ):
        (tmp_path / name).write_bytes(content)
    read = read_pictures(find_query([str(tmp_path)]), 8, 3)
    assert [own.path.name for own in read.kept] == ["1.png", "5.png"]
    assert read.images is not None
    assert read.images.shape == (2, 3, 8, 8)
    assert [Path(said.split(" (")[0]).name for said in read.skipped] == ["2.png", "3.jpg", "4.png"]
    assert "BytesIO" not in "".join(read.skipped)
    assert read_pictures([], 8, 3).images is None


def test_batches_are_consecutive_and_whole(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(png((1, 2, 3)))
    found = find_query([str(tmp_path)])
    assert [own.path.stem for batch in in_batches(found, 2) for own in batch] == list("01234")
    assert [len(batch) for batch in in_batches(found, 2)] == [2, 2, 1]


def test_files_that_are_no_pictures_by_suffix_are_found_but_for_hidden_ones(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.heic", "notes.txt", ".DS_Store", ".hidden/3.heic", "__MACOSX/4.heic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in no_pictures(tmp_path)] == ["cat/2.heic", "notes.txt"]


def test_a_name_that_is_not_unicode_can_be_printed() -> None:
    assert printable(Path("cat/\udcff.png")) == "cat/?.png"


def test_links_to_files_and_folders_are_followed_but_never_round_in_circles(tmp_path: Path) -> None:
    (tmp_path / "store" / "cats").mkdir(parents=True)
    GREY.save(tmp_path / "store" / "cats" / "0.png")
    for place in ("support", "query"):
        (tmp_path / place / "dog").mkdir(parents=True)
        (tmp_path / place / "cat").symlink_to(tmp_path / "store" / "cats")
        (tmp_path / place / "dog" / "1.png").symlink_to(tmp_path / "store" / "cats" / "0.png")
        (tmp_path / place / "dog" / "round").symlink_to(tmp_path / place)
        (tmp_path / place / "dog" / "gone.png").symlink_to(tmp_path / "gone.png")
    found = find_support(tmp_path / "support")
    assert {name: [own.path.name for own in pictures] for name, pictures in found.items()} == {
        "cat": ["0.png"],
        "dog": ["1.png", "0.png"],  # round lies in dog, and leads to cat, and to dog again
    }
    asked = find_query([str(tmp_path / "query")])
    assert [(own.folder, own.path.name) for own in asked] == [("cat", "0.png"), ("dog", "1.png")]
    assert read_pictures(asked, 8, 3).skipped == []


def test_a_panorama_is_read_without_a_word_and_what_is_too_large_is_named(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, side in (("large", 9500), ("too_large", 13500)):
            Image.new("1", (side, side)).save(tmp_path / f"{name}.png")
        read = read_pictures(find_query([str(tmp_path)]), 8, 1)
    assert [own.path.name for own in read.kept] == ["large.png"]
    assert "too_large.png (Image size (182250000 pixels) exceeds limit" in read.skipped[0]
