"""Fixtures that the whole suite uses."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch  # noqa: F401  here, so that its log handler takes pytest's stderr and not one test's
import numpy as np
import pytest
import torch
from PIL import Image

from purer_lightning.cli import main

PROJECT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file, which share fixtures, in one worker, and so all tests under Slurm: it runs once."""
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group("slurm" if folder == "slurm" else str(item.path)))


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """Keep torch to one thread: the suite's tensors are too small to share out, and sums stay in one order."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_obeyed() -> None:
    """Obey SIGINT as in a terminal: a shell starts what it starts in the background deaf to it, and so are children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def without_login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep W&B offline, without this machine's login, and out of the user's folders; return what stands for those."""
    home = tmp_path_factory.mktemp("wandb_home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_PROJECT", "WANDB_ENTITY"):
            patch.delenv(name, raising=False)
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("NETRC", str(home / "netrc"))
        for name in ("DATA", "CACHE", "CONFIG"):
            patch.setenv(f"WANDB_{name}_DIR", str(home))
        yield home


@pytest.fixture(scope="session")
def sources() -> Path:
    """Return the folder of the real data archives (``cifar100.zip``, ``omniglot_small1.zip``, ...), or skip."""
    named = os.environ.get("PURER_DATA_SOURCES")
    folder = Path(named) if named else PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"The real data archives are not in {folder}; set PURER_DATA_SOURCES to the folder that has them.")
    return folder


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of a prepared data set "toy": 16 classes of 12 pictures, each a noisy pattern of its own."""
    root = tmp_path_factory.mktemp("toy")
    rng = np.random.default_rng(0)
    for number in range(16):
        pattern = Image.fromarray(rng.integers(0, 255, (4, 4, 3)).astype(np.uint8)).resize((16, 16))
        folder = root / "pictures" / f"class{number:02d}"
        folder.mkdir(parents=True)
        for shot in range(12):
            noisy = np.asarray(pattern, dtype=float) + rng.normal(0, 60, (16, 16, 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{shot}.png")
    source = str(root / "pictures")
    main(["data", "prepare", "folder", "--source", source, "--name", "toy", "--image_size", "16", "--root", str(root)])
    return root


@pytest.fixture(scope="session")
def toy_pool(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pool of three overlapping Conv4 teachers of "toy"."""
    pool = tmp_path_factory.mktemp("pools") / "toy"
    sizes = ["--teachers", "3", "--way", "3", "--epochs", "3"]
    main(["pretrain", "--dataset", "toy", "--root", str(toy_data), "--pool", str(pool), *sizes])
    return pool
