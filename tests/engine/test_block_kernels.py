"""The kernels' structure of arguments is declared once, in C++, and a library of another one is refused."""

import ctypes

import pytest

from purer_lightning.engine import block_kernels
from purer_lightning.engine.compilation import library
from purer_lightning.errors import PurerError

pytestmark = pytest.mark.skipif(library().functions is None, reason="needs a C++ compiler")

HEADER = """
struct Arguments {
  int64_t images, height;  // a comment; with a semicolon
  Strides strides;
  const Real *x, *weight;
  uint8_t* place;

  int64_t rows() const { return images * height; }
};
"""


def test_fields_are_read_from_the_header() -> None:
    assert block_kernels.declared_fields(HEADER) == [
        ("images", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("strides", ctypes.c_int64 * 4),
        ("x", ctypes.c_void_p),
        ("weight", ctypes.c_void_p),
        ("place", ctypes.c_void_p),
    ]


def test_kernels_of_another_structure_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Longer(block_kernels._Arguments):
        _fields_ = [("one_more", ctypes.c_int64)]  # noqa: RUF012 - as ctypes wants it

    block_kernels.functions.cache_clear()
    monkeypatch.setattr(block_kernels, "_Arguments", Longer)
    with pytest.raises(PurerError, match=f"{ctypes.sizeof(Longer)} bytes, but they take {ctypes.sizeof(Longer) - 8}"):
        block_kernels.functions()
