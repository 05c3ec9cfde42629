"""Sheets of pictures in a run's folder, and what the page makes of them."""

import base64
import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from purer_lightning.errors import PurerError
from purer_lightning.report.images import address
from purer_lightning.report.page import build
from purer_lightning.report.runs import read_run
from purer_lightning.report.sections import SECTIONS, Content
from purer_lightning.running.sheets import Shown, read_sheets, save_sheet


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_holds_each_picture_at_its_class_and_column(channels: int, tmp_path: Path) -> None:
    pictures = torch.randint(0, 256, (2, 3, channels, 4, 5), dtype=torch.uint8)
    rows = [Shown("a", "teacher_00"), Shown("b", "teacher_00, teacher_01")]
    save_sheet(pictures, rows, tmp_path, 7)
    sheets = read_sheets(tmp_path, 5)
    assert sheets is not None
    assert sheets.rows == rows
    assert sheets.size == (4, 5)
    (found,) = sheets.pictures.values()
    expected = pictures.movedim(2, -1).numpy()
    assert np.array_equal(found, expected if channels == 3 else expected[..., 0])


def page_of(run: Path) -> str:
    return build(Content([read_run(run)], [], None, True), [section() for section in SECTIONS.ours.values()])


def test_no_more_sheets_are_read_than_asked_for_the_first_and_the_last_among_them(tmp_path: Path) -> None:
    for update in (0, 10, 20, 30, 1_000_000):
        save_sheet(torch.zeros(1, 1, 1, 2, 2, dtype=torch.uint8), [Shown("a", "t")], tmp_path, update)
    sheets = read_sheets(tmp_path, 3)
    assert sheets is not None
    assert list(sheets.pictures) == [0, 20, 1_000_000]


def test_a_sheet_of_another_size_is_told(tmp_path: Path) -> None:
    save_sheet(torch.zeros(1, 1, 1, 2, 2, dtype=torch.uint8), [Shown("a", "t")], tmp_path, 1)
    Image.new("L", (9, 9)).save(tmp_path / "gallery" / "update_000001.png")
    with pytest.raises(PurerError, match="gallery"):
        read_sheets(tmp_path, 3)


def test_training_keeps_sheets_from_the_initial_inversion_to_the_end(run: Path) -> None:
    sheets = read_sheets(run, 9)
    assert sheets is not None
    assert list(sheets.pictures) == [0, 4, 8, 12]
    pool = read_run(run).pool
    assert pool is not None
    knows = {
        name: {t.name for t in pool.teachers if name in t.class_names} for t in pool.teachers for name in t.class_names
    }
    assert {row.name: set(row.teachers.split(", ")) for row in sheets.rows} == knows
    first, *_, last = sheets.pictures.values()
    assert not np.array_equal(first, last)


def test_the_page_shows_every_class_with_its_teachers_and_a_picture_for_each_moment(run: Path) -> None:
    page = page_of(run)
    index = json.loads((run / "gallery" / "gallery.json").read_text())
    for row in index["rows"]:
        assert f"<b>{row['name']}</b> <small>{row['teachers']}</small>" in page
    frames = re.findall(r"--frame-\d+:url\((data:image/webp;base64,[^)]+)\)", page)
    assert len(frames) == 4
    shown = Image.open(BytesIO(base64.b64decode(frames[-1].partition(",")[2])))
    assert shown.size == (index["width"] * min(8, index["columns"]), index["height"] * len(index["rows"]))
    assert 'data-updates="0 4 8 12"' in page


def test_a_run_without_sheets_shows_its_last_picture(run: Path) -> None:
    for file in (run / "gallery").iterdir():
        file.unlink()
    assert 'class="sheet"' in page_of(run)
    (run / "pseudo_images.png").write_bytes(b"no picture")
    with pytest.raises(PurerError, match=r"pseudo_images\.png"):
        page_of(run)
    (run / "pseudo_images.png").unlink()
    assert "has left no pictures" in page_of(run)


def test_an_address_holds_the_picture(tmp_path: Path) -> None:
    del tmp_path
    ramp = np.linspace(0, 255, 32 * 32).reshape(32, 32).astype(np.uint8)
    found = Image.open(BytesIO(base64.b64decode(address(ramp).partition(",")[2])))
    assert np.abs(np.asarray(found.convert("L"), dtype=int) - ramp).mean() < 4
