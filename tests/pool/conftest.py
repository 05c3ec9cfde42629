"""A small data set, and small pools made from it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pool.pools import prepare_pictures
from purer_lightning.pool.pretraining.command import pretrain
from purer_lightning.pool.pretraining.recipe import TeacherRecipe


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    prepare_pictures(folder)
    return folder


@pytest.fixture
def make(root: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that pre-trains a small pool and returns its folder."""

    def pretrained(pool: str = "pool", **changes: Any) -> Path:
        settings: dict[str, Any] = {"dataset": "shades", "root": str(root), "way": 3, "epochs": 3}
        settings |= {"arguments": {"width": 4}, "recipe": TeacherRecipe(batch_size=16)}
        pretrain(pool=str(tmp_path / pool), **(settings | changes))
        return tmp_path / pool

    return pretrained
