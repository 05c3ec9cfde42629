"""`purer fit` on one, two and three real processes over gloo: one and the same run, to the bit.

Two do not divide the three teachers, three not the four episodes, and the adversarial data steps are among the updates.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from purer_lightning.cli import main
from purer_lightning.training.data_module import PseudoEpisodeDataModule

UPDATES, HALF = 50, 25


@pytest.fixture(scope="module")
def words(toy_data: Path, toy_pool: Path) -> list[str]:
    """A fit in float64 whose switch fires now and then, of three teachers and four episodes."""
    return [
        *("fit", "--config", "demo.yaml", "--trainer.precision", "64-true", "--engine.choice", "compiled"),
        *("--data.dataset", "toy", "--data.root", str(toy_data), "--data.pool", str(toy_pool)),
        *("--data.way", "3", "--data.query", "2", "--data.episodes_per_update", "4", "--data.updates_per_epoch", "25"),
        *("--data.validation_episodes", "4", "--synthesis.initial_steps", "2", "--gallery.classes", "1"),
        *("--model.curriculum.warm_up", "10", "--model.curriculum.patience", "3"),
        *("--model.learner.init_args.arguments", '{"width": 8}'),
        *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
    ]


def fit(run: Path, words: list[str], ranks: int, updates: int = UPDATES, resume: bool = False) -> Path:
    """Train on some ranks; with more than one by a command of its own, which Lightning runs once a rank."""
    command = [*words, "--run", str(run), "--trainer.max_steps", str(updates)]
    command += ["--ckpt_path", str(run / "checkpoints" / "last.ckpt")] if resume else []
    if ranks == 1:
        main(command)
        return run
    done = start(command, ranks)
    assert done.returncode == 0, done.stderr
    return run


def start(command: list[str], ranks: int) -> subprocess.CompletedProcess[str]:
    purer = Path(sys.executable).with_name("purer")
    several = ["--trainer.devices", str(ranks), "--trainer.strategy", "ddp"]
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return subprocess.run(
        [purer, *command, *several], check=False, capture_output=True, text=True, timeout=250, env=environment
    )


def checkpoint(run: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return loaded


def largest_difference(run: Path, other: Path) -> float:
    """Return the largest difference of any weight or pixel."""
    one, two = checkpoint(run), checkpoint(other)
    assert one["state_dict"].keys() == two["state_dict"].keys()
    images = [state["callbacks"]["SynthesisCallback"]["images"] for state in (one, two)]
    pairs = {name: (value, two["state_dict"][name]) for name, value in one["state_dict"].items()}
    pairs["images"] = (images[0], images[1])
    return max(float((value - found).abs().max()) for value, found in pairs.values())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> Path:
    return fit(tmp_path_factory.mktemp("runs") / "alone", words, 1)


def test_three_ranks_compute_the_run_of_one(alone: Path, tmp_path: Path, words: list[str]) -> None:
    three = fit(tmp_path / "three", words, 3)
    assert checkpoint(three)["callbacks"]["SynthesisCallback"]["images"].dtype == torch.float64
    assert largest_difference(alone, three) == 0
    assert checkpoint(alone)["curriculum"] == checkpoint(three)["curriculum"]
    assert checkpoint(alone)["curriculum"]["firings"] > 2
    assert (alone / "metrics.csv").read_text() == (three / "metrics.csv").read_text()


@pytest.mark.parametrize(
    "ranks", [(2, 1), (1, 2)], ids=["begun on two, resumed on one", "begun on one, resumed on two"]
)
def test_a_run_may_be_resumed_on_another_number_of_ranks(
    ranks: tuple[int, int], alone: Path, tmp_path: Path, words: list[str]
) -> None:
    run = fit(tmp_path / "run", words, ranks[0], HALF)
    fit(run, words, ranks[1], resume=True)
    assert largest_difference(alone, run) == 0
    assert (alone / "metrics.csv").read_text() == (run / "metrics.csv").read_text()


def test_a_few_teachers_an_update_from_disk_are_one_run_too_on_two_ranks_and_resumed_on_one(
    tmp_path: Path, words: list[str]
) -> None:
    few = [*words, "--data.teachers_per_update", "2", "--trainer.precision", "32-true"]
    few += ["--model.data_step_every", "2", "--data.updates_per_epoch", "10"]
    from_disk = [*few, "--data.resident_teachers", "1", "--synthesis.on_disk", "true"]
    whole = fit(tmp_path / "whole", few, 1, 20)
    halves = fit(tmp_path / "halves", from_disk, 2, 10)
    fit(halves, from_disk, 1, 20, resume=True)
    assert largest_difference(whole, halves) == 0
    assert (whole / "metrics.csv").read_text() == (halves / "metrics.csv").read_text()
    asked = PseudoEpisodeDataModule("toy", words[words.index("--data.pool") + 1], teachers_per_update=2, way=3)
    asked.setup("fit")
    drawn = {tuple(teacher.record.name for teacher in asked.asked(update)) for update in range(20)}
    assert len(drawn) == 3  # each pair of the three


def test_distillation_is_one_run_too_whose_judgements_two_ranks_share(tmp_path: Path, words: list[str]) -> None:
    """Three chunks of images to judge; the student's step, whose batch has one mean and variance, is each rank's."""
    student = ["--model.learner.init_args.outputs", "9", "--model.objective.init_args.batch_size", "150"]
    student += ["--model.objective.init_args.judged_batches", "4", "--model.objective.init_args.reuse", "1"]
    student += ["--data.updates_per_epoch", "6", "--trainer.precision", "32-true"]
    student += ["--model.curriculum.enabled", "false"]
    runs = []
    for ranks in (1, 2):
        distil = ["fit", "--config", "cifar_fs_distill.yaml", *words[3:], *student]
        runs.append(fit(tmp_path / str(ranks), distil, ranks, 6))
    assert largest_difference(*runs) == 0
    assert (runs[0] / "metrics.csv").read_text() == (runs[1] / "metrics.csv").read_text()


def test_batches_on_three_ranks_are_one_run_to_rounding_also_where_a_rank_has_no_teacher(
    tmp_path: Path, words: list[str]
) -> None:
    few = [*words, "--engine.choice", "batched", "--data.teachers_per_update", "2", "--data.updates_per_epoch", "6"]
    runs = [fit(tmp_path / str(ranks), few, ranks, 12) for ranks in (1, 3)]
    assert largest_difference(*runs) < 1e-9
    assert checkpoint(runs[0])["curriculum"] == checkpoint(runs[1])["curriculum"]


def test_a_generator_and_a_prior_of_an_outside_package_compute_on_two_ranks_the_run_of_one(
    tmp_path: Path, words: list[str]
) -> None:
    own = tmp_path / "own.yaml"
    prior = {"class_path": "plugins.prior.Contrast", "init_args": {"weight": 2.0}}
    method = {"class_path": "plugins.synthesis.MetaGenerator", "init_args": {"inner_steps": 2, "width": 8}}
    own.write_text(json.dumps({"model": {"inversion": {"further": [prior]}}, "synthesis": {"method": method}}))
    runs = [
        fit(tmp_path / str(ranks), [*words, "--config", str(own), "--data.updates_per_epoch", "4"], ranks, updates=4)
        for ranks in (1, 2)
    ]
    assert largest_difference(*runs) == 0
    assert (runs[0] / "metrics.csv").read_bytes() == (runs[1] / "metrics.csv").read_bytes()


@pytest.mark.parametrize(("what", "name"), [("weight", "meta-model"), ("pixel", "image bank")])
def test_one_bit_of_drift_is_reported_by_every_rank_and_no_checkpoint_holds_it(
    what: str, name: str, tmp_path: Path, words: list[str]
) -> None:
    drifting = ["--trainer.callbacks+", "drifting.OneRankDrifts", "--trainer.callbacks.what", what]
    drifting += ["--drift.every", "3" if what == "weight" else "0", "--data.updates_per_epoch", "4"]
    drifting += ["--model.data_step_every", "0"] if what == "pixel" else []
    done = start([*words, *drifting, "--run", str(tmp_path / "run"), "--trainer.max_steps", "8"], 2)
    assert done.returncode == 1
    number = 3 if what == "weight" else 4
    assert (
        done.stderr.count(f"purer: The ranks have drifted apart: before meta-update {number} the {name} of rank 1") == 2
    )
    assert not list((tmp_path / "run" / "checkpoints").glob("*.ckpt"))
