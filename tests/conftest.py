"""Fixtures that the whole suite uses."""

import os
from pathlib import Path

import pytest
import torch

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Keep torch to one thread: the suite's tensors are too small to share out, and sums stay in one order."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sources() -> Path:
    """Return the folder of the real data archives (``cifar100.zip``, ``omniglot_small1.zip``, ...), or skip."""
    named = os.environ.get("PURER_DATA_SOURCES")
    folder = Path(named) if named else PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"The real data archives are not in {folder}; set PURER_DATA_SOURCES to the folder that has them.")
    return folder
