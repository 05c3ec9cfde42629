"""Files are replaced whole or not at all."""

import errno
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from purer_lightning.errors import PurerError
from purer_lightning.files import check_writable, replacing, writing


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


def content_of(path: Path, content: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(content)


def test_behind_a_link_the_file_changes_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    file, near, far = tmp_path / "store" / "file", tmp_path / "near", tmp_path / "far"
    file.write_text("old")
    near.symlink_to("store/file")
    far.symlink_to(near)
    content_of(far, "new")
    assert (far.is_symlink(), near.is_symlink(), file.is_symlink()) == (True, True, False)
    assert file.read_text() == "new"
    assert [found.name for found in (tmp_path / "store").iterdir()] == ["file"]


def test_a_link_to_what_is_not_there_yet_stays_and_the_file_is_made(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("later")
    content_of(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "later").read_text() == "new"


@pytest.mark.parametrize("kind", ["circle", "link to a folder", "socket", "folder"])
def test_what_cannot_be_written_into_is_refused_and_stays(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    if kind == "circle":
        path.symlink_to("it")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        (tmp_path / "folder").mkdir()
        path.symlink_to("folder") if kind == "link to a folder" else path.mkdir()
    before = path.lstat()
    with pytest.raises(PurerError, match="Cannot write"):
        content_of(path, "new")
    with pytest.raises(PurerError, match="Cannot write"):
        check_writable([path])
    assert (path.lstat().st_mode, path.lstat().st_ino) == (before.st_mode, before.st_ino)
    assert not list(tmp_path.glob(".*"))


def test_a_pipe_gets_the_content_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as threads:
        read = threads.submit(pipe.read_text)
        content_of(pipe, "new" * 100_000)  # more than a pipe holds at once
        assert read.result(timeout=10) == "new" * 100_000
    assert pipe.is_fifo()


def test_a_pipe_that_nobody_reads_is_a_sentence_and_no_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "READER_SECONDS", 0.2)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PurerError, match="a pipe that nobody reads"):
        content_of(tmp_path / "pipe", "new")
    assert (tmp_path / "pipe").is_fifo()


def test_a_device_gets_the_content_and_stays_a_device() -> None:
    """A pseudo terminal, since it is the one device that everybody may make."""
    master, slave = os.openpty()
    terminal = Path(os.ttyname(slave))
    content_of(terminal, "new\n")
    assert os.read(master, 100) == b"new\r\n"
    assert terminal.is_char_device()
    os.close(master)
    os.close(slave)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="Linux alone has this folder")
@pytest.mark.parametrize("redirected", ["a pipe", "a file"])
def test_standard_output_keeps_what_was_printed_before_and_after(redirected: str, tmp_path: Path) -> None:
    """By a link of its own beside it: were this to go wrong on /dev/stdout, the machine would lose it."""
    (tmp_path / "link").symlink_to("/proc/self/fd/1")
    code = (
        "from pathlib import Path; from purer_lightning.files import replacing\n"
        "print('before')\n"
        "with replacing(Path('link')) as file: file.write_text('content\\n')\n"
        "print('after')"
    )
    target = tmp_path / "out"
    with target.open("wb") as file:
        ran = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            cwd=tmp_path,
            stdout=subprocess.PIPE if redirected == "a pipe" else file,
        )
    assert (ran.stdout or target.read_bytes()) == b"before\ncontent\nafter\n"


def test_a_files_permissions_stay_when_its_content_changes(tmp_path: Path) -> None:
    (tmp_path / "private").touch(mode=0o600)
    content_of(tmp_path / "private", "new")
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_a_sentence_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    content_of(tmp_path / "file", "old")
    monkeypatch.setattr(writing, "sync", full)
    with pytest.raises(PurerError, match="No space left on device"):
        content_of(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
