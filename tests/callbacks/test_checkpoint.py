"""last.ckpt: written whole or not at all, with the one before it kept."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from purer_lightning.callbacks.checkpoint import AtomicCheckpointIO, keep_as
from purer_lightning.errors import PurerError


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system refuse to make a file of more bytes than ``size``, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_earlier_checkpoint_and_is_told_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"weights": torch.zeros(3)}, path)
    with largest_file(100_000), pytest.raises(PurerError, match=r"Cannot write '.*last.ckpt': File too large\."):
        writer.save_checkpoint({"weights": torch.ones(100_000)}, path)
    assert torch.equal(writer.load_checkpoint(path)["weights"], torch.zeros(3))
    assert list(tmp_path.iterdir()) == [path]


def test_what_torch_cannot_write_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises((AttributeError, RuntimeError, TypeError)):
        AtomicCheckpointIO().save_checkpoint({"function": lambda: None}, tmp_path / "last.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_a_file_keeps_its_name_when_it_is_kept_under_a_second_one(tmp_path: Path) -> None:
    (tmp_path / "last").write_text("new")
    (tmp_path / "before").write_text("old")
    keep_as(tmp_path / "last", tmp_path / "before")
    assert [(tmp_path / name).read_text() for name in ("last", "before")] == ["new", "new"]
    (tmp_path / "newer").write_text("newer")
    (tmp_path / "newer").replace(tmp_path / "last")
    assert (tmp_path / "before").read_text() == "new"


def test_without_hard_links_the_file_is_there_under_the_second_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(f"no hard link from {self} to {target}")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    (tmp_path / "last").write_text("new")
    keep_as(tmp_path / "last", tmp_path / "before")
    assert (tmp_path / "before").read_text() == "new"
