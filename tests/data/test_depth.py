"""Grey pictures of more than 8 bits and of fractions: white is stated, decided for a set, or refused."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picture_folders import write_zip
from purer_lightning.adaptation.pictures import find_query, read_pictures
from purer_lightning.data.pictures import picture_file, to_pixels
from purer_lightning.data.preparation import prepare
from purer_lightning.data.splits import open_split

RAMP = np.linspace(20, 250, 64).reshape(8, 8)  # as its author sees it


def of_bits(bits: int) -> np.ndarray:
    values: np.ndarray = (RAMP / 255 * (2**bits - 1)).round().astype(np.uint16)
    return values


def encoded(values: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, kind, **options)
    return stream.getvalue()


def png16(values: np.ndarray, significant: bytes = b"") -> bytes:
    """Return a PNG with 16 bits a channel, (H, W) or (H, W, 3), and its chunk sBIT if there is one."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2 if values.ndim == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = [(b"IHDR", head), (b"sBIT", significant), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    written = [chunk(kind, content) for kind, content in chunks if content or kind != b"sBIT"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def seen(data: bytes, channels: int = 1) -> np.ndarray:
    pixels: np.ndarray = to_pixels(picture_file("test", lambda: data).load(), 8, channels)[0].astype(float)
    return pixels


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_picture_of_fewer_bits_than_its_file_is_as_its_author_sees_it(bits: int, kind: str) -> None:
    assert abs(seen(encoded(of_bits(bits), kind)) - RAMP).max() <= 1


@pytest.mark.parametrize(
    ("data", "full"),
    [
        (b"P5 8 8 4095\n" + (of_bits(12) // 8).astype(">u2").tobytes(), 4095),
        (b"P5 8 8 1000\n" + (of_bits(12) // 8).astype(">u2").tobytes(), 1000),
        (png16(of_bits(12) // 8, b"\x0c"), 4095),
        (encoded(of_bits(12) // 8, "TIFF", tiffinfo={281: 4095}), 4095),
    ],
    ids=["maxval 4095", "maxval 1000", "sBIT", "MaxSampleValue"],
)
def test_a_dark_picture_stays_dark_where_its_file_states_the_range(data: bytes, full: int) -> None:
    assert abs(seen(data) - (of_bits(12) // 8) * (255 / full)).max() <= 1


def test_bits_that_the_standard_has_scaled_to_16_are_not_scaled_again() -> None:
    assert abs(seen(png16(of_bits(16) & 0xFFF0, b"\x0c")) - RAMP).max() <= 1


def test_the_range_is_that_of_the_whole_set_so_that_a_dark_picture_among_others_stays_dark(tmp_path: Path) -> None:
    (tmp_path / "dark.png").write_bytes(encoded(of_bits(12) // 20, "PNG"))
    (tmp_path / "light.png").write_bytes(encoded(of_bits(12), "PNG"))
    read = read_pictures(find_query([str(tmp_path)]), 8, 1)
    assert read.images is not None
    dark, light = read.images[:, 0].numpy().astype(float)
    assert abs(dark - RAMP / 20).max() <= 1
    assert abs(light - RAMP).max() <= 1


def test_a_prepared_set_has_one_range_and_says_which(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = {f"{name}/{i}.png": encoded(of_bits(12) // (1 + 9 * i), "PNG") for name in "abc" for i in range(2)}
    prepare("folder", root=str(tmp_path), source=str(write_zip(tmp_path / "t.zip", files)), image_size=8, channels=1)
    light, dark = open_split(tmp_path, "t", "val").images[:, 0].astype(float)
    assert abs(light - RAMP).max() <= 1
    assert abs(dark - RAMP / 10).max() <= 1
    assert "White is taken to be 4,095" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.nan, "NaN or infinite"),
        (np.inf, "NaN or infinite"),
        (-0.1, "below 0"),
        (1.5, "largest value is 1.5"),
        (300.0, "largest value is 300"),
    ],
)
def test_fractions_that_cannot_be_shown_are_named(value: float, expected: str, tmp_path: Path) -> None:
    values = np.full((8, 8), 0.5, np.float32)
    (tmp_path / "good.tif").write_bytes(encoded(values, "TIFF"))
    values[3, 3] = value
    (tmp_path / "odd.tif").write_bytes(encoded(values, "TIFF"))
    read = read_pictures(find_query([str(tmp_path)]), 8, 1)
    assert [own.path.name for own in read.kept] == ["good.tif"]
    assert read.images is not None
    assert (read.images == 128).all()
    assert expected in read.skipped[0]


def test_signed_pixels_below_0_are_named(tmp_path: Path) -> None:
    (tmp_path / "scan.tif").write_bytes(encoded(np.full((8, 8), -1000, np.int32), "TIFF"))
    assert "values below 0, down to -1000" in read_pictures(find_query([str(tmp_path)]), 8, 1).skipped[0]


def test_colours_of_16_bits_are_read_if_they_are_used_and_refused_if_they_would_be_black() -> None:
    assert abs(seen(png16(np.stack([of_bits(16)] * 3, 2)), 3) - RAMP).max() <= 1
    for bits in (8, 10, 12):
        with pytest.raises(ValueError, match=f"uses at most {bits} of them, so that it would be nearly black"):
            seen(png16(np.stack([of_bits(bits)] * 3, 2)), 3)


def test_an_odd_exif_entry_costs_neither_the_picture_nor_its_orientation(tmp_path: Path) -> None:
    entries = [(0x10F, 5, 1, struct.pack("<II", 1, 1)), (0x112, 3, 1, struct.pack("<H", 6))]
    body = struct.pack("<H", 2)
    for tag, kind, count, content in entries:
        body += struct.pack("<HHI", tag, kind, count)
        body += content.ljust(4, b"\0") if len(content) <= 4 else struct.pack("<I", 38)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", 0) + struct.pack("<II", 1, 1)
    upright = Image.new("L", (8, 16), 0)
    upright.paste(255, (0, 0, 8, 8))  # white above
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    read = read_pictures(find_query([str(tmp_path)]), 8, 1)
    assert read.skipped == []
    assert read.images is not None
    assert read.images[0, 0, :3].min() > 200
    assert read.images[0, 0, 5:].max() < 50


def test_whatever_a_decoder_raises_is_said_of_its_picture_alone(
    tmp_path: Path,
) -> None:
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(encoded(RAMP.astype(np.uint8), "PNG"))
    found = find_query([str(tmp_path)])

    def broken() -> Image.Image:
        raise AttributeError("'NoneType' object has no attribute 'seek'")

    found[0] = found[0]._replace(picture=found[0].picture._replace(load=broken))
    read = read_pictures(found, 8, 1)
    assert [own.path.name for own in read.kept] == ["2.png"]
    assert "1.png (AttributeError: 'NoneType'" in read.skipped[0]
