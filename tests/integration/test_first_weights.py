"""The first weights are drawn on the CPU, whatever device Lightning makes modules on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from purer_lightning.cli import main


@contextmanager
def elsewhere(self: SingleDeviceStrategy, empty_init: bool | None = None) -> Iterator[None]:
    """Let tensors be made on another device than the CPU, as Lightning does where there is a GPU."""
    del self, empty_init
    with torch.device("meta"):
        yield


@pytest.mark.parametrize("more", [[], ["--model.start_from_average", "true"]], ids=["drawn", "average of the teachers"])
def test_a_run_and_its_test_are_the_same_where_lightning_makes_modules_on_another_device(
    more: list[str], toy_data: Path, toy_pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--config", "demo.yaml", "--data.dataset", "toy", "--data.root", str(toy_data), "--data.way", "3"]
    words += ["--data.pool", str(toy_pool), "--data.query", "2", "--data.validation_episodes", "2"]
    words += ["--synthesis.initial_steps", "1", "--trainer.max_steps", "2", "--trainer.accelerator", "cpu"]
    words += ["--data.test_episodes", "4", "--evaluation.calibration.enabled", "false", *more]
    for name in ("plain", "elsewhere"):
        if name == "elsewhere":
            monkeypatch.setattr(SingleDeviceStrategy, "tensor_init_context", elsewhere)
        main(["fit", *words, "--run", str(tmp_path / name)])
        main(["test", *words, "--run", str(tmp_path / name)])  # of the first weights
    for file in ("metrics.csv", "test/episodes.csv"):
        assert (tmp_path / "plain" / file).read_bytes() == (tmp_path / "elsewhere" / file).read_bytes()
