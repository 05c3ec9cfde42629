"""What ``import purer_lightning`` costs: next to nothing."""

import subprocess
import sys

import purer_lightning


def test_the_package_is_imported_without_torch_and_knows_its_names() -> None:
    code = "import sys, purer_lightning; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    for name in purer_lightning.__all__:
        assert getattr(purer_lightning, name).__name__ == name


def test_loading_a_meta_model_does_not_import_lightning() -> None:
    code = "import sys; from purer_lightning import load; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
