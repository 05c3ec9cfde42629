"""From any file that Pillow reads to uint8 pixels of one size."""

from pathlib import Path

import numpy as np
from PIL import Image

from purer_lightning.data.pictures import to_pixels


def test_the_shorter_side_is_resized_and_the_centre_cropped() -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:40] = 100
    pixels[:, 40:60] = 200
    small = to_pixels(Image.fromarray(pixels), 10, 3)
    assert small.shape == (3, 10, 10)
    assert small.dtype == np.uint8
    assert (abs(small[:, :, :4].astype(int) - 100) < 20).all()
    assert (abs(small[:, :, 6:].astype(int) - 200) < 20).all()


def test_pictures_of_any_mode_become_what_the_eye_sees(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert (to_pixels(clear, 4, 3) == 255).all()
    deep = Image.fromarray(np.full((4, 4), 0x8040, np.uint16))
    assert (to_pixels(deep, 4, 1) == 0x80).all()
    assert (to_pixels(Image.fromarray(np.full((4, 4), 0x8040, np.int32)), 4, 1) == 0x80).all()
    assert (to_pixels(Image.fromarray(np.full((4, 4), 0x40, np.int32)), 4, 1) == 0x40).all()
    assert (to_pixels(Image.fromarray(np.full((4, 4), 1 << 20, np.int32)), 4, 1) == 255).all()
    assert (to_pixels(Image.fromarray(np.full((4, 4), 0.5, np.float32)), 4, 1) == 128).all()
    assert (to_pixels(Image.fromarray(np.full((4, 4), 64, np.float32)), 4, 1) == 64).all()
    assert (to_pixels(Image.new("1", (4, 4), 1), 4, 1) == 255).all()
    assert to_pixels(Image.new("L", (4, 4), 9), 4, 3).tolist() == [[[9] * 4] * 4] * 3
    assert to_pixels(Image.new("CMYK", (4, 4)), 4, 3).min() == 255
    turned = Image.new("RGB", (8, 8))
    turned.paste((255, 255, 255), (0, 0, 8, 4))  # the upper half; orientation 3 is upside down
    exif = Image.Exif()
    exif[0x0112] = 3
    turned.save(tmp_path / "t.png", exif=exif)
    seen = to_pixels(Image.open(tmp_path / "t.png"), 8, 1)[0]
    assert (seen[:4] == 0).all()
    assert (seen[4:] == 255).all()


def test_a_large_jpeg_is_decoded_small_and_right(tmp_path: Path) -> None:
    halves = Image.new("L", (800, 800))
    halves.paste(250, (400, 0, 800, 800))
    halves.save(tmp_path / "t.jpg")
    seen = to_pixels(Image.open(tmp_path / "t.jpg"), 20, 1)[0].astype(int)
    assert abs(seen[:, :9] - 0).max() < 6
    assert abs(seen[:, 11:] - 250).max() < 6
