"""Which checkpoint --ckpt_path means."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from purer_lightning.errors import PurerError
from purer_lightning.running.resuming import differences, find_checkpoint


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with three checkpoints."""
    (tmp_path / "checkpoints").mkdir()
    for name in ("before_last", "last", "best"):
        torch.save({"weights": torch.randn(1000)}, tmp_path / "checkpoints" / f"{name}.ckpt")
    return tmp_path


def path(wanted: str, run: Path, subcommand: str) -> Path:
    found = find_checkpoint(wanted, run, subcommand)
    assert found
    return found.path


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("subcommand", ["fit", "validate", "test"])
def test_a_word_means_the_run_folders_own_checkpoint(run: Path, subcommand: str) -> None:
    assert path("last", run, subcommand) == run / "checkpoints" / "last.ckpt"
    assert path("best", run, subcommand) == run / "checkpoints" / "best.ckpt"
    assert find_checkpoint(None, run, subcommand) is None


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, empty])
def test_a_damaged_last_one_is_named_and_the_one_before_it_used(
    damage: Callable[[Path], None], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run / "checkpoints" / "last.ckpt")
    assert path("last", run, "fit") == run / "checkpoints" / "before_last.ckpt"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"purer: '{run}/checkpoints/last.ckpt' cannot be read as a checkpoint: it is damaged")
    assert line.endswith(f"goes on from the one before it, '{run}/checkpoints/before_last.ckpt'.")


def test_where_all_are_damaged_the_run_does_not_begin_anew(run: Path) -> None:
    for name in ("last", "before_last"):
        cut_short(run / "checkpoints" / f"{name}.ckpt")
    with pytest.raises(PurerError, match=r"last.ckpt' cannot be read .*before_last.ckpt' cannot be read"):
        find_checkpoint("last", run, "fit")


def test_the_one_before_serves_where_the_last_one_is_missing(run: Path) -> None:
    (run / "checkpoints" / "last.ckpt").unlink()
    assert path("last", run, "fit") == run / "checkpoints" / "before_last.ckpt"


def test_a_fit_from_last_begins_where_there_is_none_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_checkpoint("last", tmp_path, "fit") is None
    assert "no checkpoint in" in capsys.readouterr().err


def test_a_test_needs_a_checkpoint(tmp_path: Path) -> None:
    for word in ("last", "best"):
        with pytest.raises(PurerError, match=rf"checkpoint.*{word}\.ckpt"):
            find_checkpoint(word, tmp_path, "test")


def test_a_group_of_settings_in_the_place_of_nothing_is_a_difference_and_what_one_side_does_not_know_is_none() -> None:
    saved = {"model.objective": None, "model.meta_lr": 0.1, "removed": 1, "model.inversion.l2": 0.5}
    now = {"model.objective.class_path": "Joint", "model.objective.init_args.batch_size": 3, "model.inversion": None}
    assert differences(now | {"model.meta_lr": 0.1, "added": 2}, saved) == [
        ("model.inversion", "None", "l2 0.5"),
        ("model.objective", "Joint", "None"),
    ]
    assert differences(now, {}) == []
