"""What the data module refuses before a run begins, and what it does not."""

from pathlib import Path

import pytest

from cli_errors import complaint
from purer_lightning.inversion.synthesis import PixelSynthesis, SynthesisTask
from purer_lightning.training.data_module import PseudoEpisodeDataModule


def classes_asked(pool: Path, teachers: int, updates: int) -> list[int]:
    """How many classes the teachers of each update know."""
    data = PseudoEpisodeDataModule("toy", str(pool), teachers_per_update=teachers, way=2)
    data.setup("fit")
    return [len(data.teachers.classes_of(data.asked(update))) for update in range(updates)]


def test_a_draw_of_teachers_that_know_too_few_classes_is_told_before_the_run_begins(
    toy_data: Path, toy_pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = classes_asked(toy_pool, 2, 50)
    way = max(known)
    first = next(update for update, classes in enumerate(known) if classes < way)
    words = ["fit", "--config", "demo.yaml", "--data.dataset", "toy", "--data.root", str(toy_data)]
    words += ["--data.pool", str(toy_pool), "--data.way", str(way), "--data.query", "1", "--trainer.max_steps", "50"]
    words += ["--data.teachers_per_update", "2", "--trainer.accelerator", "cpu", "--run", str(tmp_path)]
    said = complaint(capsys, words)
    assert f"needs {way} classes, but the teachers that update {first} asks know {known[first]} between them" in said
    assert first > 0
    assert not (tmp_path / "metrics.csv").exists()


def test_a_run_that_is_over_before_such_a_draw_is_not_refused(toy_data: Path, toy_pool: Path) -> None:
    known = classes_asked(toy_pool, 2, 50)
    way = max(known)
    first = next(update for update, classes in enumerate(known) if classes < way)
    data = PseudoEpisodeDataModule("toy", str(toy_pool), str(toy_data), way=way, query=1, teachers_per_update=2)
    data.updates_per_epoch = first
    data.setup("fit")  # without a Trainer: the first epoch's draws
    data.synthesis = PixelSynthesis()
    data.synthesis.setup(SynthesisTask(data.teachers, data.images_per_class, data.shot, data.query, data.seed, 0.1))
    assert len(data.plan(first - 1).adversarial.classes[0]) == way
    assert data.moved(-1) is not None  # the initial inversion has no episodes
