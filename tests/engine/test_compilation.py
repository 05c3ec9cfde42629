"""The kernels' library: compiled once, kept, and done without where it cannot be made."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from purer_lightning.compute.backend import PLAIN
from purer_lightning.engine import compilation as made
from purer_lightning.engine.choice import compiled
from purer_lightning.nets import NetworkSpec


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder, and a process that has loaded nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made.library.cache_clear()
    yield tmp_path / "purer-lightning"
    made.library.cache_clear()


@pytest.mark.skipif(made.library().functions is None, reason="needs a C++ compiler")
def test_what_has_been_compiled_is_kept_and_loaded_again(folder: Path) -> None:
    assert made.library().compile_seconds > 0
    (kept,) = folder.iterdir()
    written = kept.stat().st_mtime_ns
    made.library.cache_clear()
    again = made.library()
    assert again.functions is not None
    assert again.compile_seconds == 0
    assert kept.stat().st_mtime_ns == written


def test_without_a_compiler_networks_stay_plain_and_the_reason_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    network = NetworkSpec("conv4", 3, 3, 16, {"width": 4}).build(running_statistics=True)
    backend = compiled()
    assert backend.remark.startswith("Running the plain engine, since there is no C++ compiler")
    assert backend.operations == {}
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(backend.run(network, {}, images).logits, PLAIN.run(network, {}, images).logits)
    assert not folder.exists()


def test_a_compiler_that_fails_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "false")
    found = made.library()
    assert found.functions is None
    assert isinstance(found.problem, str) and "could not be compiled by" in found.problem
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache_is_done_without(folder: Path) -> None:
    folder.parent.chmod(0o500)
    assert made.library().functions is not None


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_kernels_compile_without_a_warning() -> None:
    command = [
        "g++",
        *made.OPTIONS,
        made.THREADS,
        "-Wall",
        "-Wextra",
        "-Werror",
        "-o",
        os.devnull,
        *map(str, made.SOURCES),
    ]
    subprocess.run(command, check=True)
