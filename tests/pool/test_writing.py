"""Several writers of one pool, and writes that fail."""

import shutil
from pathlib import Path

import pytest

from pool.pools import store
from purer_lightning.errors import PurerError
from purer_lightning.files import replacing
from purer_lightning.pool import writing
from purer_lightning.pool.manifest import PoolManifest, read_manifest, write_manifest
from purer_lightning.pool.writing import assemble


def test_a_teacher_that_another_process_adds_meanwhile_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path / "pool", "one", [0, 1])
    store(tmp_path / "elsewhere", "two", [2, 3])

    def interrupted(folder: Path, manifest: PoolManifest) -> None:
        """Write pool.json just after another process has added a teacher that ``manifest`` does not know."""
        for file in ("two.safetensors", "two.json"):
            shutil.copy(tmp_path / "elsewhere" / file, folder)
        write_manifest(folder, manifest)

    monkeypatch.setattr(writing, "write_manifest", interrupted)
    assemble(tmp_path / "pool")
    assert [record.name for record in read_manifest(tmp_path / "pool").teachers] == ["one", "two"]


def test_teachers_are_listed_in_the_order_of_their_numbers_whoever_came_first(tmp_path: Path) -> None:
    for number in (100, 9, 10):
        store(tmp_path, f"teacher_{number:02d}", [0, 1])
    names = [record.name for record in read_manifest(tmp_path).teachers]
    assert names == ["teacher_09", "teacher_10", "teacher_100"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("file", "old")]


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(PurerError, match=r"Cannot write .*gone/file': No such file"),
        replacing(tmp_path / "gone" / "file") as t,
    ):
        t.write_text("x")
