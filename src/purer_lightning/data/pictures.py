"""A picture that has yet to be read, and the way from any file that Pillow reads to uint8 (C, H, W)."""

import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

# What Pillow and zipfile raise on damaged, truncated, encrypted or unknown content.
UNREADABLE = (
    *(OSError, EOFError, SyntaxError, ValueError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile),
    Image.DecompressionBombError,
)


class Picture(NamedTuple):
    """One picture, read when ``load`` is called.

    Attributes:
        where: archive and path within it, for messages.
        load: reads it; raises one of ``UNREADABLE`` on damage.
    """

    where: str
    load: Callable[[], Image.Image]


Classes = dict[str, list[Picture]]
Splits = dict[str, Classes]


def picture_file(where: str, read: Callable[[], bytes]) -> Picture:
    """Return the picture in the bytes that ``read`` gives."""
    return Picture(where, partial(_decode, read))


def _decode(read: Callable[[], bytes]) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow warns of pictures above 90 megapixels, such as panoramas, and refuses those of twice as many.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(BytesIO(read()))


def to_pixels(image: Image.Image, size: int, channels: int) -> np.ndarray:
    """Bring a picture to size and channels: resize the shorter side, then crop the centre.

    Args:
        image: any mode and size. Camera rotation is applied, transparency is laid on white.
        size: height and width of the result.
        channels: 1 (luminance) or 3.

    Returns:
        uint8, (channels, size, size).
    """
    image.draft(
        None, (2 * size, 2 * size)
    )  # lets JPEG decode at a fraction of its size: 3 to 5 times faster for photos
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and np.asarray(image).max() > 255):  # "I" by older Pillows
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))  # `convert` makes all white
    if image.mode == "F" and np.asarray(image).max() <= 1:  # `convert` would make all black
        image = Image.fromarray((255 * np.asarray(image)).clip(0, 255).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB" if channels == 3 else "L")
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)  # antialiased where it shrinks
    pixels = np.asarray(image)
    return pixels.transpose(2, 0, 1) if channels == 3 else pixels[None]
