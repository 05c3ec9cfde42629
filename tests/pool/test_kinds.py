"""A kind of teacher from outside the package: what is checked of the networks that it returns."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from plugins.teacher_kind import Pixels
from purer_lightning.errors import PurerError
from purer_lightning.nets import NetworkSpec
from purer_lightning.pool.kinds import KINDS, TeacherKind, read_teacher
from purer_lightning.pool.manifest import TeacherRecord

SPEC = NetworkSpec("conv4", 3, 1, 4)
RECORD = TeacherRecord("one", "one.bin", "", SPEC, "toy", [0, 1, 2], ["a", "b", "c"], None, "k")
WEIGHT = torch.arange(48.0).view(3, 16) / 48


class Untraceable(Pixels):
    def features(self, images: Tensor) -> Tensor:
        return super().features(images.detach())


class Scaled(Pixels):
    def forward(self, images: Tensor) -> Tensor:
        return 2 * super().forward(images)


class Whole(nn.Module):
    """Has no features and no head."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ WEIGHT.T


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[nn.Module], nn.Module]:
    """Return a function that reads a teacher whose kind returns the network given."""
    (tmp_path / "one.bin").write_bytes(b"of no interest")

    def through_a_kind(network: nn.Module) -> nn.Module:
        class Given(TeacherKind):
            def network(self, record: TeacherRecord, content: bytes, where: str) -> nn.Module:
                del record, content, where
                return network

        monkeypatch.setattr(KINDS, "named", {"k": Given})
        return read_teacher(tmp_path, RECORD, "Teacher 'one'")[0]

    return through_a_kind


@pytest.mark.parametrize("network", [Pixels(WEIGHT), Whole()])
def test_a_network_that_answers_for_its_classes_is_taken_frozen(
    network: nn.Module, read: Callable[[nn.Module], nn.Module]
) -> None:
    found = read(network)
    assert found is network
    assert not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())


def test_gradients_that_the_caller_has_switched_off_are_no_fault_of_the_teacher(
    read: Callable[[nn.Module], nn.Module],
) -> None:
    with torch.no_grad():
        read(Pixels(WEIGHT))


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (Untraceable(WEIGHT), "a gradient with respect to the images, but they have none"),
        (Scaled(WEIGHT), r"head\(features\(images\)\) to be its answer, but they differ by up to"),
        (Pixels(WEIGHT[:2]), r"finite logits of shape \(2, 3\) for two images, but got shape \(2, 2\)"),
        (Pixels(WEIGHT * torch.inf), "but got infinite or NaN ones of shape"),
    ],
)
def test_answers_that_would_spoil_a_run_in_silence_are_refused(
    network: nn.Module, sentence: str, read: Callable[[nn.Module], nn.Module]
) -> None:
    with pytest.raises(PurerError, match=f"Teacher 'one': expected .*{sentence}.*; correct its kind 'k'"):
        read(network)
