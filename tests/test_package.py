"""What ``import purer_lightning`` costs: next to nothing."""

import subprocess
import sys
from importlib import import_module

import pytest

import purer_lightning


def test_the_package_is_imported_without_torch_and_knows_its_names() -> None:
    code = "import sys, purer_lightning; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    for name in purer_lightning.__all__:
        assert getattr(purer_lightning, name).__name__ == name


def test_loading_a_meta_model_does_not_import_lightning() -> None:
    code = "import sys; from purer_lightning import load; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("old", "new"), sorted(purer_lightning._MOVED.items()))
def test_a_module_that_has_moved_is_imported_by_its_old_name(old: str, new: str) -> None:
    moved = import_module(f"purer_lightning.{old}")
    assert moved is import_module(f"purer_lightning.{new}")


def test_a_module_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match="calibrations"):
        import_module("purer_lightning.calibrations")
