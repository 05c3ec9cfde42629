"""Parts written as an outside package writes them, named in a configuration, run through ``main([...])``."""

import math
from pathlib import Path

import pytest
import torch
from test_front_door import column, fit, result, shrunk

from plugins.objective import Focal
from purer_lightning.cli import main
from purer_lightning.episode import draw_plan
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.learners import Maml
from purer_lightning.objectives import Episodic
from purer_lightning.seeding import generator

__all__ = ["shrunk"]  # a fixture


def test_a_learner_of_ones_own_trains_is_tested_and_adapts(tmp_path: Path, toy_data: Path, shrunk: list[str]) -> None:
    learner = ["--model.learner", "plugins.learner.Boil", "--model.learner.init_args.inner_lr", "0.1"]
    run = fit(tmp_path / "boil", shrunk, *learner, updates=4)
    main(["test", "--config", str(run / "config.yaml"), "--ckpt_path", "best", "--run", str(run)])
    assert 0 <= result(run / "test")["plain"]["mean"] <= 1
    support = tmp_path / "support"
    for name in ("class00", "class01"):
        (support / name).mkdir(parents=True)
        for shot in range(2):
            (support / name / f"{shot}.png").write_bytes((toy_data / "pictures" / name / f"{shot}.png").read_bytes())
    words = ["adapt", "--ckpt_path", str(run), "--support", str(support), "--query", str(support / "class00")]
    main([*words, "--learner", "plugins.learner.Boil", "--output", str(tmp_path / "predictions.csv")])
    assert "class00" in (tmp_path / "predictions.csv").read_text()


def test_the_head_of_boil_stays_and_its_body_moves() -> None:
    from plugins.learner import Boil

    learner = Boil("conv4", {"width": 4}, inner_lr=0.1)
    learner.build(3, 3, 16, seed=0)
    weights, images = learner.frozen_weights(), torch.randn(6, 3, 16, 16, generator=generator(0, "images"))
    fast = learner.adapt(weights, images, torch.arange(3).repeat(2))
    moved = {name.split(".")[0] for name in weights if not torch.equal(fast[name], weights[name])}
    assert moved == {"blocks"}


def test_an_objective_of_ones_own_trains(tmp_path: Path, shrunk: list[str]) -> None:
    run = fit(tmp_path / "focal", shrunk, "--model.objective", "plugins.objective.Focal", updates=4)
    assert all(math.isfinite(loss) for loss in column(run, "train/outer_loss"))


@pytest.mark.parametrize("second_order", [False, True])
def test_a_focus_of_0_is_the_cross_entropy_of_the_episodes(second_order: bool) -> None:
    learner = Maml("conv4", {"width": 4}, inner_lr=0.1)
    learner.build(3, 3, 16, seed=0)
    bank = ImageBank.drawn(["a", "b", "c", "d"], 4, 3, 16, seed=0)
    plan = draw_plan(bank.counts, 2, 3, 1, 2, 0, generator(0, "plan"))
    outcomes = [
        objective.outcome(learner, learner.weights(), bank, plan, second_order=second_order)
        for objective in (Focal(focus=0.0), Episodic())
    ]
    assert torch.allclose(outcomes[0].loss, outcomes[1].loss)
    assert torch.equal(outcomes[0].accuracy, outcomes[1].accuracy)
    assert Focal(2.0).outcome(learner, learner.weights(), bank, plan, second_order=second_order).loss < outcomes[0].loss
