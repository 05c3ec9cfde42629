"""Whole runs by batches: the plain run to rounding, resumed to the bit, and a sentence where something stays plain."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cli_errors import complaint
from engine.fits import fit, rows
from purer_lightning.cli import main
from purer_lightning.engine import batched_teachers
from purer_lightning.engine.batched_episodes import BatchedEpisodes
from purer_lightning.engine.batched_scores import BatchedScores
from purer_lightning.engine.batched_teachers import Batch, BatchedTeachers

BATCHED = ["--engine.choice", "batched"]


@pytest.fixture(scope="module")
def batched(toy_data: Path, toy_pool: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A whole run by batches: its folder and last checkpoint."""
    run = tmp_path_factory.mktemp("batched") / "run"
    return run, fit(toy_data, toy_pool, run, *BATCHED)


def images_of(state: dict[str, Any]) -> torch.Tensor:
    found: torch.Tensor = state["callbacks"]["SynthesisCallback"]["images"]
    return found


def assert_same_run(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    torch.testing.assert_close(ours["state_dict"], theirs["state_dict"], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(images_of(ours), images_of(theirs), rtol=1e-9, atol=1e-9)
    assert ours["curriculum"] == theirs["curriculum"]


def test_a_batched_run_is_the_plain_run_to_rounding(
    toy_data: Path, toy_pool: Path, tmp_path: Path, batched: tuple[Path, dict[str, Any]]
) -> None:
    run, state = batched
    plain = fit(toy_data, toy_pool, tmp_path / "run", "--engine.choice", "plain")
    assert images_of(state).dtype == torch.float64
    assert_same_run(state, plain)
    for ours, theirs in zip(rows(run), rows(tmp_path / "run"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-8, abs=1e-10)
    assert any(row.get("curriculum/switch") for row in rows(run))
    assert any("val/accuracy" in row for row in rows(run))


def test_a_batched_run_that_was_interrupted_goes_on_to_the_bit(
    toy_data: Path, toy_pool: Path, tmp_path: Path, batched: tuple[Path, dict[str, Any]]
) -> None:
    fit(toy_data, toy_pool, tmp_path / "run", *BATCHED, updates=3)
    resumed = fit(toy_data, toy_pool, tmp_path / "run", *BATCHED, "--ckpt_path", "last")
    for name, value in batched[1]["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], value), name
    assert torch.equal(images_of(resumed), images_of(batched[1]))


def test_a_few_teachers_an_update_from_disk_are_batched_no_more_than_may_be_in_memory(
    toy_data: Path, toy_pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ["--data.teachers_per_update", "2", "--synthesis.initial_steps", "2"]
    plain = fit(toy_data, toy_pool, tmp_path / "plain", "--engine.choice", "plain", *few)
    sizes: list[int] = []
    gradient = batched_teachers.batch_gradient

    def counted(batch: Batch, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        sizes.append(len(batch.numbers))
        return gradient(batch, *given)

    monkeypatch.setattr(batched_teachers, "batch_gradient", counted)
    for resident, expected in ((["--data.resident_teachers", "1"], 1), ([], 2)):
        sizes.clear()
        found = fit(toy_data, toy_pool, tmp_path / str(expected), *BATCHED, *few, *resident)
        assert_same_run(found, plain)
        assert set(sizes) == {expected}


def noted(call: Callable[..., Any], called: set[type]) -> Callable[..., Any]:
    """Return a method that notes whose it is, and does what it did."""

    def method(self: object, *given: Any, **named: Any) -> Any:
        called.add(type(self))
        return call(self, *given, **named)

    return method


@pytest.mark.parametrize(
    ("settings", "sentence", "batched_still"),
    [
        (["--trainer.precision", "bf16-mixed"], "Running the plain engine, since batches of networks", set()),
        (
            ["--model.learner", "purer_lightning.learners.ProtoNet"],
            "The batched engine asks the teachers in batches; the theta step of Episodic with ProtoNet is plain.",
            {BatchedTeachers},
        ),
        (
            ["--model.objective", "engine.fits.OwnObjective"],
            "The batched engine asks the teachers in batches; the theta step of OwnObjective with Maml is plain.",
            {BatchedTeachers, BatchedScores},
        ),
    ],
    ids=["mixed precision", "another learner", "another objective"],
)
def test_what_is_not_batched_runs_as_before_and_says_so(
    toy_data: Path,
    toy_pool: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    settings: list[str],
    sentence: str,
    batched_still: set[type],
) -> None:
    called: set[type] = set()
    for kind in (BatchedTeachers, BatchedEpisodes, BatchedScores):
        monkeypatch.setattr(kind, "__call__", noted(kind.__call__, called))
    fit(toy_data, toy_pool, tmp_path / "run", *BATCHED, *settings, updates=3)
    assert called == batched_still
    assert sentence in caplog.text


def test_a_batch_of_no_teachers_is_refused(
    toy_data: Path, toy_pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--data.root", str(toy_data), "--data.pool", str(toy_pool), "--run", str(tmp_path / "run")]
    words = ["fit", "--config", "demo.yaml", *where, *BATCHED, "--engine.teachers_at_once", "0"]
    assert "Expected engine.teachers_at_once to be at least 1, but got 0." in complaint(capsys, words)


def score(toy_data: Path, toy_pool: Path, run: Path, *more: str) -> list[list[str]]:
    """Test on seven episodes in float64, and return what each got."""
    where = ["--data.dataset", "toy", "--data.root", str(toy_data), "--data.pool", str(toy_pool), "--run", str(run)]
    small = ["--data.way", "3", "--data.query", "3", "--data.test_episodes", "7", "--trainer.precision", "64-true"]
    quiet = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    main(["test", "--config", "demo.yaml", *where, *small, *quiet, *more])
    with (run / "test" / "episodes.csv").open() as file:
        return list(csv.reader(file))


def test_a_checkpoint_is_scored_alike_by_batches_with_icfil(
    toy_data: Path,
    toy_pool: Path,
    tmp_path: Path,
    batched: tuple[Path, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint = ["--ckpt_path", str(batched[0] / "checkpoints" / "last.ckpt")]
    wanted = score(toy_data, toy_pool, tmp_path / "plain", *checkpoint, "--engine.choice", "plain")
    called: set[type] = set()
    monkeypatch.setattr(BatchedScores, "__call__", noted(BatchedScores.__call__, called))
    assert score(toy_data, toy_pool, tmp_path / "batched", *checkpoint, *BATCHED) == wanted
    assert wanted[0] == ["episode", "plain", "icfil"]
    assert called == {BatchedScores}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["--trainer.precision", "bf16-mixed"], "Running the plain engine, since batches of networks"),
        (
            ["--model.learner", "purer_lightning.learners.FeatureClassifier"],
            "Running the plain engine, since FeatureClassifier is not batched.",
        ),
    ],
    ids=["mixed precision", "another learner"],
)
def test_what_is_not_scored_by_batches_is_scored_as_before_and_says_so(
    toy_data: Path, toy_pool: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: list[str], sentence: str
) -> None:
    assert len(score(toy_data, toy_pool, tmp_path / "run", *BATCHED, *settings)) == 8
    assert sentence in caplog.text
