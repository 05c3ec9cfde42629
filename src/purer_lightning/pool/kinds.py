"""Kinds of teacher: how a teacher's file becomes a network. State dicts of named networks; others are plugged in."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from purer_lightning.errors import PurerError
from purer_lightning.plugs import Registry, subclass_of
from purer_lightning.pool.manifest import STATE_DICT, TeacherRecord
from purer_lightning.pool.networks import AGAIN, checked_network


class TeacherKind(ABC):
    """How teachers of one kind are read.

    A kind of your own is a subclass without arguments. The record of its teachers in pool.json has its name as
    ``kind``: the path that you also give as ``data.teacher_kinds``, or the name of an entry point of the group
    ``purer_lightning.teachers``. A pool alone never makes anything be imported.
    """

    @abstractmethod
    def network(self, record: TeacherRecord, content: bytes, where: str) -> nn.Module:
        """Return the network that a teacher's file holds, with its weights. Nothing of the file may be executed.

        The network maps images (N, C, H, W) in the pool's normalised pixel space to logits (N, classes), in the order
        of ``record.class_ids``. It needs ``features`` and ``head`` (see ``nets.FewShotNetwork``) for distillation and
        baselines, gradients with respect to the images for inversion, and ``nn.BatchNorm2d`` layers if the inversion
        is to match their statistics.

        Args:
            record: what the pool says about the teacher.
            content: of ``record.file``.
            where: how to call the teacher in an error.

        Raises:
            PurerError: the file is no such teacher.
        """


class StateDict(TeacherKind):
    """The weights of ``record.network`` as a safetensors file."""

    def network(self, record: TeacherRecord, content: bytes, where: str) -> nn.Module:
        """Return the network with these weights after all checks on them."""
        try:
            weights = load(content)
        except SafetensorError as error:
            raise PurerError(
                f"{where}: expected a complete safetensors file, but it is truncated or damaged ({error}). {AGAIN}"
            ) from error
        return checked_network(weights, record.network, where)


KINDS: Registry[type[TeacherKind]] = Registry(
    "kinds of teacher",
    {STATE_DICT: StateDict},
    subclass_of(TeacherKind),  # type: ignore[type-abstract]  # mypy wants a class that can be made
    group="teachers",
)


def read_teacher(folder: Path, record: TeacherRecord, where: str) -> tuple[nn.Module, bytes]:
    """Return a teacher's network, frozen and in evaluation mode, and the content of its file.

    Raises:
        PurerError: the file cannot be read, or what its kind raises, or its answers are not those of its classes.
    """
    try:
        content = (folder / record.file).read_bytes()
    except OSError as error:
        raise PurerError(f"{where}: its file cannot be read ({error.strerror}). {AGAIN}") from error
    kind = KINDS.find(record.kind)()
    network = kind.network(record, content, where).requires_grad_(False).eval()
    if not isinstance(kind, StateDict):  # whose shapes have been compared
        check_answers(network, record, where)
    return network, content


def check_answers(network: Any, record: TeacherRecord, where: str) -> None:
    """Raise PurerError unless a teacher answers two grey images by finite logits, one for each of its classes."""
    spec = record.network
    with torch.no_grad():
        logits = network(torch.zeros(2, spec.channels, spec.image_size, spec.image_size))
    if logits.shape != (2, len(record.class_ids)) or not logits.isfinite().all():
        raise PurerError(
            f"{where}: expected finite logits of shape {(2, len(record.class_ids))} for two images, but got "
            f"{'infinite or NaN ones of ' if not logits.isfinite().all() else ''}shape {tuple(logits.shape)}; correct "
            f"its kind '{record.kind}' or its classes."
        )
