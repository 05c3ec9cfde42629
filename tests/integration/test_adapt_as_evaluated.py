"""From ``purer fit`` to ``load(run)``: what is predicted is what ``purer test`` scored, picture by picture."""

import csv
from pathlib import Path

import pytest
import torch

from purer_lightning.adaptation.meta_model import load
from purer_lightning.cli import main
from purer_lightning.data.real_episodes import RealEpisodes
from purer_lightning.data.splits import open_split

EPISODES, WAY, SHOT, QUERY = 5, 3, 2, 4


@pytest.fixture(scope="module")
def run(toy_data: Path, toy_pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training run, tested without and with ICFIL."""
    run = tmp_path_factory.mktemp("runs") / "toy"
    words = [
        *("--config", "demo.yaml", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
        *("--data.dataset", "toy", "--data.root", str(toy_data), "--data.pool", str(toy_pool)),
        *("--data.way", str(WAY), "--data.shot", str(SHOT), "--data.query", str(QUERY)),
        *("--data.validation_episodes", "2", "--data.test_episodes", str(EPISODES), "--synthesis.initial_steps", "2"),
        *("--seed_everything", "7"),
    ]
    main(["fit", *words, "--trainer.max_steps", "2", "--run", str(run)])
    main(["test", *words, "--ckpt_path", str(run / "checkpoints" / "best.ckpt")])
    return run


def test_predictions_are_those_that_were_scored(run: Path, toy_data: Path) -> None:
    model = load(run, batchnorm="transductive")
    split = open_split(toy_data, "toy", "test")
    episodes = RealEpisodes(split, model.record.normalisation, WAY, SHOT, QUERY, EPISODES, seed=7)
    with (run / "test" / "episodes.csv").open() as file:
        scored = list(csv.DictReader(file))
    assert len(scored) == EPISODES
    for episode, row in zip((episodes[i] for i in range(EPISODES)), scored, strict=True):
        support, query = (model.record.normalisation.undo(images) for images in (episode.support, episode.query))
        assert torch.allclose(model.record.normalisation.apply(support), episode.support, atol=1e-5)
        right = model.adapt(support, episode.support_labels).predict(query).argmax(dim=1) == episode.query_labels
        assert right.float().mean().item() == pytest.approx(float(row["plain"]))
        if episode.id == 0:  # whose number a user's own task has, too
            calibrated = model.adapt(support, episode.support_labels, icfil=True, seed=7)
            right = calibrated.predict(query).argmax(dim=1) == episode.query_labels
            assert right.float().mean().item() == pytest.approx(float(row["icfil"]))


def test_the_checkpoint_alone_is_enough(run: Path, tmp_path: Path) -> None:
    alone = (run / "checkpoints" / "best.ckpt").rename(tmp_path / "alone.ckpt")
    record = load(alone).record
    alone.rename(run / "checkpoints" / "best.ckpt")
    assert (record.learner, record.way, record.channels, record.image_size) == ("Maml", WAY, 3, 16)
    assert record.settings["inner_lr"] == 0.1


def test_the_card_of_a_real_run_has_its_results(run: Path, tmp_path: Path) -> None:
    load(run).save_pretrained(tmp_path / "saved")
    text = (tmp_path / "saved" / "README.md").read_text()
    for expected in (
        "| dataset | toy |",
        "| updates | 2 |",
        "| seed | 7 |",
        f"3-way 2-shot | icfil | transductive | {EPISODES} |",
    ):
        assert expected in text
