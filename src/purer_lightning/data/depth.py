"""Which value of a picture is white, where its pixels have more than 8 bits or are fractions.

A file with 16 bits a pixel may hold 8, 10, 12 or 14 of them: microscopes, X-ray and thermal cameras write such files.
Some say so (a TIFF's BitsPerSample and MaxSampleValue, a PGM's maxval, a PNG's sBIT); of the others only the values can
tell, and they tell it of a whole set of pictures rather than of one, which may be dark.
"""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import NamedTuple

import numpy as np
from PIL import Image

_BITS = (8, 10, 12, 14, 16)
_TIFF_BITS, _TIFF_MAXIMUM = 258, 281  # BitsPerSample, MaxSampleValue
SIGNIFICANT_BITS = "purer_significant_bits"  # key of ``Image.info``
_FRACTIONS_END = 1.0
_BYTES_BEGIN = 16.0  # a largest value between is neither of 0 to 1 nor of 0 to 255


class Whites(NamedTuple):
    """The values that are white in pictures of which no file says it.

    Attributes:
        integer: of grey pictures of 16 or 32 bits.
        real: of floating-point ones: 1 or 255.
    """

    integer: int
    real: int


class WhiteOfSet:
    """Finds the white values of a set of pictures: one pass over the set, and only once a picture needs it.

    Attributes:
        notes: a sentence for the user on each decision that was made, once it was made.
    """

    def __init__(self, loads: Iterable[Callable[[], Image.Image]]) -> None:
        self._loads = loads
        self.notes: list[str] = []

    def of(self, values: np.ndarray) -> int:
        """Return the white value of pixels of which the file does not say it."""
        return self._whites.real if values.dtype.kind == "f" else self._whites.integer

    @cached_property
    def _whites(self) -> Whites:
        largest = {"i": 0.0, "f": 0.0}
        for load in self._loads:
            try:
                image = load()
                if is_deep(image) and stated_white(image, values := checked_values(image)) is None:
                    kind = "f" if values.dtype.kind == "f" else "i"
                    largest[kind] = max(largest[kind], float(values.max()))
            except Exception:  # it is named where it is read
                continue
        whites = Whites(_white_of_integers(largest["i"]), 255 if largest["f"] > _FRACTIONS_END else 1)
        if largest["i"]:
            self.notes.append(
                f"White is taken to be {whites.integer:,} in grey pictures of 16 bits or more whose files do not say "
                f"it, since {int(largest['i']):,} is their largest value."
            )
        if largest["f"]:
            self.notes.append(f"Floating-point pictures are read as of 0 to {whites.real}.")
        return whites


def is_deep(image: Image.Image) -> bool:
    """Whether a picture is grey with more than 8 bits a pixel; known without reading its pixels."""
    return image.mode.startswith("I") or image.mode == "F"


def checked_values(image: Image.Image) -> np.ndarray:
    """Return the pixels of a deep picture, (H, W).

    Raises:
        ValueError: values that cannot be shown: negative, not finite, or fractions above 1 that are no bytes.
    """
    values = np.asarray(image)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("it has values that are NaN or infinite; write it with values of 0 to 1")
    if values.min() < 0:
        raise ValueError(f"it has values below 0, down to {values.min():g}; write it with values of 0 and more")
    if values.dtype.kind == "f" and not (values.max() <= _FRACTIONS_END or _BYTES_BEGIN <= values.max() <= 255):
        raise ValueError(
            f"its largest value is {values.max():g}, and floating-point pictures are of 0 to 1 or of 0 to 255; scale it"
        )
    return values


def stated_white(image: Image.Image, values: np.ndarray) -> int | None:
    """Return the white value that a deep picture's file states for its pixels; None where it does not."""
    if image.mode == "F":
        return None
    if image.format in ("PPM", "JPEG2000"):
        return 65535  # Pillow has scaled the pixels by the file's own maximum
    if bits := image.info.get(SIGNIFICANT_BITS):
        # The standard wants them scaled to 16 bits, but not all programs do that.
        return 65535 if values.max() >= 1 << bits else int((1 << bits) - 1)
    tags = getattr(image, "tag_v2", {})
    bits, maximum = (_first(tags.get(tag)) for tag in (_TIFF_BITS, _TIFF_MAXIMUM))
    if bits and 8 < bits < 16:
        return int((1 << bits) - 1)
    # The tag may also say the largest value that occurs; a full number of bits is a range.
    return maximum if maximum in [(1 << number) - 1 for number in _BITS] and values.max() <= maximum else None


def significant_bits(data: bytes) -> int | None:
    """Return what the chunk ``sBIT`` of a grey PNG of 16 bits says, 1 to 16; None without it.

    Args:
        data: the whole file.
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[24:26] != b"\x10\x00":
        return None
    start = 8
    while (kind := data[start + 4 : start + 8]) not in (b"IDAT", b""):
        if kind == b"sBIT" and len(data) > start + 8:
            return data[start + 8] if 1 <= data[start + 8] <= 16 else None
        start += 12 + int.from_bytes(data[start : start + 4], "big")
    return None


def _first(value: object) -> int | None:
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else None


def _white_of_integers(largest: float) -> int:
    """Return the smallest usual range that holds the largest value; beyond 16 bits that value itself."""
    return next((white for bits in _BITS if largest <= (white := (1 << bits) - 1)), int(largest))


def has_deep_colours(image: Image.Image) -> bool:
    """Whether the file has 16 bits a colour channel; known before its pixels are read."""
    tiles = getattr(image, "tile", None) or []
    return not is_deep(image) and image.format != "PPM" and any(";16" in str(tile[3]) for tile in tiles)


def check_colour_depth(image: Image.Image) -> None:
    """Refuse a colour picture with 16 bits a channel of which the upper ones are not used: it would be all but black.

    Args:
        image: has 16 bits a channel in its file, of which Pillow keeps the upper 8.

    Raises:
        ValueError: at most 14 of the 16 bits are used.
    """
    pixels = np.asarray(image)
    largest = int(pixels[..., : 1 if image.mode == "LA" else 3].max())
    if largest < 64:
        raise ValueError(
            f"it has 16 bits a channel but uses at most {8 + largest.bit_length()} of them, so that it would be nearly "
            "black; save it with 8 bits a channel"
        )
