"""Labels as callers have them: lists, tensors, arrays or columns of tables, of numbers or names."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from purer_lightning.errors import PurerError

Label = int | float | str | bool


def read_labels(labels: Any, pictures: int) -> tuple[tuple[str, ...], Tensor]:
    """Return the classes that labels name, and which of them each picture is of.

    Args:
        labels: one for each picture, all numbers or all names: a sequence, tensor or array of shape (N,) or (N, 1).
        pictures: N.

    Returns:
        Names of the sorted distinct labels, at least 2, and int64 (N,), positions in them.

    Raises:
        PurerError: another shape, such as one-hot rows; not as many as pictures; labels of two kinds or of none; NaN;
            or a single class.
    """
    shape = getattr(labels, "shape", None)
    if shape is not None and len(shape) == 2 and shape[1] == 1:
        labels = labels.reshape(-1) if hasattr(labels, "reshape") else labels.values.reshape(-1)
    elif shape is not None and len(shape) != 1:
        remedy = "; for one-hot rows give labels.argmax(1)" if len(shape) == 2 else ""
        raise PurerError(
            f"Expected labels of shape ({pictures},), one for each picture, but got {tuple(shape)}{remedy}."
        )
    if isinstance(labels, str | bytes) or not isinstance(labels, Iterable):
        raise PurerError(f"Expected a label for each of the {pictures} pictures, but got {type(labels).__name__}.")
    values = [_plain(value) for value in labels]
    kinds = sorted({type(value).__name__ for value in values})
    if len(kinds) > 1:
        raise PurerError(f"Expected labels of one kind, numbers or names, but got {' and '.join(kinds)}.")
    if len(values) != pictures:
        raise PurerError(f"Expected a label for each of the {pictures} pictures, but got {len(values)}.")
    classes = sorted(set(values))
    if len(classes) < 2:
        raise PurerError(
            f"Expected pictures of at least 2 classes to tell apart, but got 1 class, '{classes[0]}'; add another."
        )
    return tuple(map(str, classes)), torch.tensor([classes.index(value) for value in values])


def _plain(value: Any) -> Label:
    """Return a label as a type of Python's: an element of a tensor or of an array compares and hashes otherwise."""
    if isinstance(value, list | tuple) and len(value) == 1:
        (value,) = value  # a row of a column
    if hasattr(value, "item"):
        try:
            value = value.item()
        except (RuntimeError, ValueError) as error:
            raise PurerError(
                f"Expected numbers or names as labels, one for each picture, but got one of shape {tuple(value.shape)}."
            ) from error
    if isinstance(value, str):
        return str(value)
    if not isinstance(value, int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise PurerError(f"Expected numbers or names as labels, but got {value!r}.")
    return value
