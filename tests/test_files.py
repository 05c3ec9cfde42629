"""Files are replaced whole or not at all."""

import os
from pathlib import Path

import pytest

from purer_lightning.errors import PurerError
from purer_lightning.files import replacing


def test_the_new_file_takes_the_old_ones_place_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
        assert str(os.getpid()) in temporary.name
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_halfway_leaves_no_file_where_there_was_none(tmp_path: Path) -> None:
    with pytest.raises(KeyError), replacing(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_system_becomes_a_sentence_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(PurerError, match=r"Cannot write .*taken'"), replacing(tmp_path / "taken") as temporary:
        temporary.write_text("x")
    assert [found.name for found in tmp_path.iterdir()] == ["taken"]
