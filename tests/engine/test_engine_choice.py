"""The engine's setting: which runs are accelerated, and that nothing but rounding comes of it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.fits import fit, rows
from purer_lightning.engine import Engine, is_batched, wanted
from purer_lightning.engine.blocks import FusedBlock
from purer_lightning.engine.compilation import library

needs_compiler = pytest.mark.skipif(library().functions is None, reason="needs a C++ compiler")


@pytest.mark.parametrize(
    ("choice", "steps", "expected"),
    [
        ("auto", 49, False),
        ("auto", 50, True),
        ("auto", -1, True),
        ("plain", 60000, False),
        ("plain", -1, False),
        ("compiled", 1, True),
    ],
)
def test_auto_compiles_only_for_runs_that_earn_it_back(choice: Engine, steps: int, expected: bool) -> None:
    assert wanted(choice, steps, least=50) is expected


@pytest.mark.parametrize(
    ("choice", "device", "expected"),
    [
        ("auto", "cpu", False),
        ("auto", "cuda", True),
        ("batched", "cpu", True),
        ("plain", "cuda", False),
        ("compiled", "cuda", False),
    ],
)
def test_auto_batches_on_cuda_alone(choice: Engine, device: str, expected: bool) -> None:
    assert is_batched(choice, torch.device(device)) is expected


@pytest.fixture(scope="module")
def compiled(toy_data: Path, toy_pool: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A whole run by the compiled engine: its folder and last checkpoint."""
    run = tmp_path_factory.mktemp("compiled") / "run"
    return run, fit(toy_data, toy_pool, run, "--engine.choice", "compiled")


@needs_compiler
def test_a_compiled_run_is_the_plain_run_to_rounding(
    toy_data: Path, toy_pool: Path, tmp_path: Path, compiled: tuple[Path, dict[str, Any]]
) -> None:
    run, state = compiled
    plain = fit(toy_data, toy_pool, tmp_path / "run")
    torch.testing.assert_close(state["state_dict"], plain["state_dict"], rtol=1e-9, atol=1e-9)
    for ours, theirs in zip(rows(run), rows(tmp_path / "run"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-8, abs=1e-10)
    assert any(row.get("curriculum/switch") for row in rows(run))


@needs_compiler
def test_a_compiled_run_that_was_interrupted_goes_on_to_the_bit(
    toy_data: Path, toy_pool: Path, tmp_path: Path, compiled: tuple[Path, dict[str, Any]]
) -> None:
    choice = ["--engine.choice", "compiled"]
    fit(toy_data, toy_pool, tmp_path / "run", *choice, updates=3)
    resumed = fit(toy_data, toy_pool, tmp_path / "run", *choice, "--ckpt_path", "last")
    for name, value in compiled[1]["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], value), name


@needs_compiler
def test_a_short_run_stays_plain_and_a_compiled_one_is_fused(
    toy_data: Path, toy_pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[torch.Size] = []
    forward = FusedBlock.forward

    def counted(block: FusedBlock, images: torch.Tensor) -> torch.Tensor:
        calls.append(images.shape)
        return forward(block, images)

    monkeypatch.setattr(FusedBlock, "forward", counted)
    fit(toy_data, toy_pool, tmp_path / "short", updates=1)
    assert not calls
    fit(toy_data, toy_pool, tmp_path / "long", "--engine.choice", "compiled", updates=1)
    assert calls
