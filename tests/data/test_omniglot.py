"""Omniglot from its archives, which overlap."""

import io
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from picture_folders import write_zip
from purer_lightning.data.archives import open_pictures
from purer_lightning.data.omniglot import read_omniglot
from purer_lightning.data.preparation import prepare
from purer_lightning.data.splits import open_split
from purer_lightning.errors import PurerError


def drawing(width: int) -> bytes:
    """Return a 105 x 105 one-bit PNG of a black bar on white."""
    image = Image.new("1", (105, 105), 1)
    ImageDraw.Draw(image).rectangle((10, 40, 10 + width, 60), fill=0)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def archive(file: Path, alphabets: dict[str, int]) -> Path:
    """Write a zip with so many characters of each alphabet, three drawings of each."""
    content = {
        f"{file.stem}/{alphabet}/character{c:02d}/{c:04d}_{i:02d}.png": drawing(10 * c + i)
        for alphabet, characters in alphabets.items()
        for c in range(1, characters + 1)
        for i in range(3)
    }
    return write_zip(file, content)


def test_a_drawing_in_two_archives_counts_once(tmp_path: Path) -> None:
    one = archive(tmp_path / "images_background_small1.zip", {"Latin": 4, "Greek": 3})
    two = archive(tmp_path / "images_background_small2.zip", {"Greek": 3, "Tagalog": 3})
    prepare("omniglot", root=str(tmp_path), source=[str(one), str(two)])
    splits = [open_split(tmp_path, "omniglot", split) for split in ("train", "val", "test")]
    names = [name for split in splits for name in split.class_names]
    assert len(names) == len(set(names)) == 10
    assert {"Greek/character01", "Tagalog/character03", "Latin/character04"} < set(names)
    assert all(split.counts.tolist() == [3] * len(split.class_ids) for split in splits)


def test_drawings_are_28_pixels_of_one_channel_with_bright_strokes(tmp_path: Path) -> None:
    prepare("omniglot", root=str(tmp_path), source=str(archive(tmp_path / "images.zip", {"Latin": 5})))
    train = open_split(tmp_path, "omniglot", "train")
    assert train.images.shape[1:] == (1, 28, 28)
    assert (train.images[:, 0, 0] == 0).all()
    assert (train.images[:, 0, 13, 3] == 255).all()
    assert ((train.images > 0) & (train.images < 255)).any()  # antialiased, where the source has black and white alone


def test_an_archive_of_something_else_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PurerError, match=r"Expected drawings <Alphabet>/<character>/<file>\.png in"):
        prepare("omniglot", root=str(tmp_path), source=str(write_zip(tmp_path / "t.zip", {"a/b.txt": b""})))


def test_the_real_archives_hold_242_characters_of_20_drawings(sources: Path) -> None:
    with open_pictures(sources / "omniglot_small1.zip") as one, open_pictures(sources / "omniglot_small2.zip") as two:
        classes = read_omniglot([*one, *two], "omniglot")
        assert len(classes) == 242
        assert {len(pictures) for pictures in classes.values()} == {20}
        assert classes["Greek/character24"][19].load().size == (105, 105)
