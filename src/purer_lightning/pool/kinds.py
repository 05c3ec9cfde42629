"""Kinds of teacher: how a teacher's file becomes a network. State dicts of named networks; others are plugged in."""

from abc import ABC, abstractmethod
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from purer_lightning.errors import PurerError
from purer_lightning.nets.functional import run
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
        of ``record.class_ids``, with gradients with respect to the images. If it has ``features`` and ``head`` (see
        ``nets.FewShotNetwork``), which baselines on features need, its answers have to be ``head(features(images))``.
        It needs ``nn.BatchNorm2d`` layers if the inversion is to match their statistics.

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


def check_answers(network: nn.Module, record: TeacherRecord, where: str) -> None:
    """Compare a teacher's answers to two images, a ramp of grey and its negative, with what its record says.

    Raises:
        PurerError: they are not finite logits, one for each class, or have no gradient with respect to the images (the
            inversion would move these by its priors alone), or are not ``head(features(images))``.
    """
    spec, remedy = record.network, f"correct its kind '{record.kind}'"
    ramp = torch.linspace(-1, 1, spec.channels * spec.image_size**2)
    images = torch.stack([ramp, -ramp]).view(2, spec.channels, spec.image_size, spec.image_size).requires_grad_()
    with torch.enable_grad():
        logits = network(images)
        called = run(network, {}, images).logits
    if logits.shape != (2, len(record.class_ids)) or not logits.isfinite().all():
        raise PurerError(
            f"{where}: expected finite logits of shape {(2, len(record.class_ids))} for two images, but got "
            f"{'infinite or NaN ones of ' if not logits.isfinite().all() else ''}shape {tuple(logits.shape)}; {remedy} "
            "or its classes."
        )
    if not called.requires_grad:
        raise PurerError(
            f"{where}: expected logits with a gradient with respect to the images, but they have none; {remedy} so "
            "that autograd can follow it."
        )
    if not torch.allclose(logits.float(), called, rtol=1e-3, atol=1e-4):
        raise PurerError(
            f"{where}: expected head(features(images)) to be its answer, but they differ by up to "
            f"{(logits - called).detach().abs().max():g}; {remedy}."
        )
