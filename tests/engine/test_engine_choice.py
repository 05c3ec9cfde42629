"""The engine's setting: which runs are accelerated, and that nothing but rounding comes of it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.fits import fit, rows
from purer_lightning.compute.backend import PLAIN, Run
from purer_lightning.engine.batched_teachers import BatchedTeachers
from purer_lightning.engine.blocks import FusedBlock
from purer_lightning.engine.choice import EngineChoice
from purer_lightning.engine.compilation import library
from purer_lightning.learners import Maml
from purer_lightning.objectives import Episodic

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
def test_auto_compiles_only_for_runs_that_earn_it_back(choice: Any, steps: int, expected: bool) -> None:
    backend = EngineChoice(choice).backend(Run(torch.device("cpu"), "32-true", updates=steps))
    assert backend.one_pass is expected
    assert (backend is PLAIN) is not expected


@pytest.mark.parametrize(("episodes", "expected"), [(99, False), (100, True)])
def test_auto_compiles_only_for_evaluations_that_earn_it_back(episodes: int, expected: bool) -> None:
    backend = EngineChoice().backend(Run(torch.device("cpu"), "32-true", episodes=episodes))
    assert backend.one_pass is expected


def test_in_mixed_precision_all_is_plain() -> None:
    for choice in ("auto", "compiled", "batched"):
        run = Run(torch.device("cpu"), "bf16-mixed", updates=1000, objective=Episodic(), learner=Maml())
        assert EngineChoice(choice).backend(run).operations == {}


@pytest.mark.parametrize(
    ("choice", "device", "expected"),
    [
        ("auto", "cpu", False),
        ("auto", "cuda", False),  # unmeasured there
        ("batched", "cuda", True),
        ("batched", "cpu", True),
        ("plain", "cuda", False),
        ("compiled", "cuda", False),
    ],
)
def test_batches_are_for_those_who_ask_for_them(choice: Any, device: str, expected: bool) -> None:
    run = Run(torch.device(device), "32-true", updates=1000, objective=Episodic(), learner=Maml())
    operations = EngineChoice(choice).backend(run).operations
    assert any(isinstance(operation, BatchedTeachers) for operation in operations.values()) is expected


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
