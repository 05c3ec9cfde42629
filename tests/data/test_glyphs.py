"""Glyphs: characters that are recognisable, varied, and never two classes of one look."""

# ruff: noqa: RUF001 - characters that can be taken for others are what is tested

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from purer_lightning.data.glyphs import (
    ALPHABETS,
    REFERENCE_FACE,
    draw_character,
    faces_of,
    font_sources,
    glyph_classes,
    glyph_pictures,
)
from purer_lightning.data.preparation import prepare
from purer_lightning.data.splits import open_split

CHARACTERS = [(name, character) for name, members in glyph_classes().items() for character in members]


def shape(character: str) -> np.ndarray:
    """Return a character in the reference face, at one size as the random scale allows, as a unit vector."""
    ink = draw_character(character, REFERENCE_FACE, 0)
    scale = 40 / max(ink.size)
    ink = ink.resize((max(1, round(ink.width * scale)), max(1, round(ink.height * scale))))
    square = Image.new("L", (48, 48))
    square.paste(ink, ((48 - ink.width) // 2, (48 - ink.height) // 2))
    values = np.asarray(square.filter(ImageFilter.GaussianBlur(1)), float).ravel()
    values -= values.mean()
    return np.asarray(values / np.linalg.norm(values))


@pytest.fixture(scope="module")
def likeness() -> np.ndarray:
    """Return the normalised correlation of all pairs of ``CHARACTERS``."""
    shapes = np.stack([shape(character) for _, character in CHARACTERS])
    return np.asarray(shapes @ shapes.T)


def test_there_are_150_classes_or_more_and_no_character_is_in_two() -> None:
    assert len(glyph_classes()) >= 150
    assert len(glyph_classes()) == sum(len(words.split()) for words in ALPHABETS.values())
    assert len({character for _, character in CHARACTERS}) == len(CHARACTERS)


def test_no_two_classes_look_alike(likeness: np.ndarray) -> None:
    alike = [
        (one[1], other[1], round(float(likeness[i, j]), 2))
        for i, one in enumerate(CHARACTERS)
        for j, other in enumerate(CHARACTERS[:i])
        if one[0] != other[0] and likeness[i, j] > 0.9
    ]
    assert alike == []


def test_the_characters_of_one_class_look_alike(likeness: np.ndarray) -> None:
    members = glyph_classes()
    unlike = [
        (one[1], other[1])
        for i, one in enumerate(CHARACTERS)
        for j, other in enumerate(CHARACTERS[:i])
        if one[0] == other[0] and likeness[i, j] < 0.7
    ]
    assert unlike == []
    for look_alikes in ("AΑА", "OoΟοОо", "PΡР", "HΗН", "BΒВ", "Cc", "Ss", "Vv", "Xx", "Zz"):
        assert any(set(look_alikes) <= set(member) for member in members.values()), look_alikes


def test_every_face_that_is_drawn_from_has_ink_for_the_character_and_no_box() -> None:
    boxes = {face: np.asarray(draw_character("\U000e0001", face, 0)) for face in faces_of("A")}
    for _, character in CHARACTERS:
        faces = faces_of(character)
        assert len(faces) >= 4, character
        for face in faces:
            ink = np.asarray(draw_character(character, face, 0))
            assert min(ink.shape) > 3, (character, face)
            assert ink.max() > 128, (character, face)
            assert not np.array_equal(ink, boxes[face]), (character, face)


def test_cyrillic_small_letters_are_never_drawn_in_a_hand_that_makes_them_other_letters() -> None:
    assert "STIXGeneralItalic" in faces_of("Т")
    assert "STIXGeneralItalic" not in faces_of("т")  # there it looks like m
    assert len(faces_of("т")) == 12


def test_a_picture_depends_on_seed_class_and_number_alone() -> None:
    few, many = glyph_pictures(2, seed=1), glyph_pictures(5, seed=1)
    assert few["digit two"][1].load().tobytes() == many["digit two"][1].load().tobytes()
    assert few["digit two"][0].load().tobytes() != few["digit two"][1].load().tobytes()
    assert few["digit two"][1].load().tobytes() != glyph_pictures(2, seed=2)["digit two"][1].load().tobytes()


def test_ink_stands_out_from_the_ground_and_lies_within_the_picture() -> None:
    for pictures in list(glyph_pictures(3, seed=0).values())[::5]:
        for picture in pictures:
            values = np.asarray(picture.load().convert("L"), float)
            assert np.percentile(values, 99) - np.percentile(values, 1) > 40, picture.where
            frame = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
            assert frame.std() < 25, picture.where  # the ground's gradient and noise, hardly any ink


def test_glyphs_are_a_data_set_like_the_others(tmp_path: Path) -> None:
    folder = prepare("glyphs", root=str(tmp_path), images_per_class=2, seed=4)
    splits = [open_split(tmp_path, "glyphs", split) for split in ("train", "val", "test")]
    assert sum(len(split.class_ids) for split in splits) == len(glyph_classes())
    assert len({name for split in splits for name in split.class_names}) == len(glyph_classes())
    assert splits[0].images.shape[1:] == (3, 32, 32)
    again = prepare("glyphs", root=str(tmp_path / "again"), images_per_class=2, seed=4)
    assert (folder / "test.npy").read_bytes() == (again / "test.npy").read_bytes()
    assert (folder / "dataset.json").read_bytes() == (again / "dataset.json").read_bytes()


def test_a_dozen_faces_or_more_with_their_hashes() -> None:
    sources = font_sources()
    assert len({source.sha256 for source in sources}) == len(sources) >= 12


def test_rendering_costs_less_than_20_seconds_for_the_default_set() -> None:
    pictures = [pictures[0] for pictures in glyph_pictures(1, seed=0).values()]
    for picture in pictures:  # opens the fonts
        picture.load()
    start = time.process_time()
    for picture in pictures:
        picture.load()
    assert (time.process_time() - start) * 60 < 20
