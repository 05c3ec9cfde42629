"""IcfilEvaluation on toy episodes: the same ones for everybody, every one of them, and no number made of a failure."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from purer_lightning.cli import main
from purer_lightning.data.real_episodes import RealEpisodes
from purer_lightning.data.splits import open_split
from purer_lightning.episode import Episode
from purer_lightning.errors import PurerError
from purer_lightning.evaluation import IcfilEvaluation
from purer_lightning.evaluation.icfil import CalibrationSettings
from purer_lightning.learners import FeatureClassifier, Learner, Maml
from purer_lightning.learners.heads import HeadName
from purer_lightning.learners.pool_baselines import PoolClassifier
from purer_lightning.nets.functional import Weights
from purer_lightning.training.data_module import PseudoEpisodeDataModule

EPISODES = 7
QUICK = CalibrationSettings(steps=1, inversion_steps=1)
OFF = CalibrationSettings(enabled=False)


class Batches(PseudoEpisodeDataModule):
    """Test episodes several a batch, in an order or a choice of one's own."""

    size = 1
    order: Sequence[int] = range(EPISODES)

    def test_dataloader(self) -> DataLoader[list[Episode]]:
        loader = super().test_dataloader()
        return DataLoader(loader.dataset, sampler=self.order, batch_size=self.size, collate_fn=list)


class Recording(IcfilEvaluation):
    """Keeps the episodes it is given."""

    seen: list[Episode]

    def test_step(self, episodes: list[Episode], batch_idx: int) -> None:
        self.seen = [*getattr(self, "seen", []), *episodes]
        super().test_step(episodes, batch_idx)


class Broken(FeatureClassifier):
    """Gives one logit that is not a number."""

    def logits(self, images: Tensor, fast: Weights) -> Tensor:
        logits = super().logits(images, fast)
        logits[-1, -1] = torch.nan
        return logits


def maml() -> Maml:
    return Maml("conv4", {"width": 4}, inner_lr=0.1)


@pytest.fixture
def data(toy_data: Path, toy_pool: Path) -> Batches:
    """Seven episodes of 3-way 1-shot."""
    return Batches("toy", str(toy_pool), str(toy_data), way=3, query=3, test_episodes=EPISODES, validation_episodes=4)


def run(
    data: Batches, folder: Path, learner: Learner, calibration: CalibrationSettings = OFF, **trainer: Any
) -> Recording:
    """Test the learner and return the module."""
    module = Recording(learner, calibration, report_at=[3], run=str(folder))
    ours: dict[str, Any] = {"accelerator": "cpu", "inference_mode": False, "use_distributed_sampler": False}
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    Trainer(default_root_dir=folder, **ours, **quiet, **trainer).test(module, data, verbose=False)
    return module


def rows(folder: Path) -> list[list[str]]:
    with (folder / "episodes.csv").open() as file:
        return list(csv.reader(file))


def result(folder: Path) -> dict[str, Any]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found: dict[str, Any] = json.loads((folder / "results.json").read_text(), parse_constant=refuse)
    return found


def test_results_do_not_depend_on_how_many_episodes_a_batch_holds(data: Batches, tmp_path: Path) -> None:
    run(data, tmp_path / "1", maml(), QUICK)
    data.size = 3
    run(data, tmp_path / "3", maml(), QUICK)
    assert rows(tmp_path / "1") == rows(tmp_path / "3")
    assert [row[0] for row in rows(tmp_path / "1")] == ["episode", *map(str, range(EPISODES))]
    assert rows(tmp_path / "1")[0][1:] == ["plain", "icfil"]


def test_every_learner_sees_the_same_episodes(data: Batches, tmp_path: Path) -> None:
    seen = [run(data, tmp_path, learner).seen for learner in (maml(), FeatureClassifier("conv4", {"width": 4}))]
    assert len(seen[0]) == EPISODES
    for one, other in zip(*seen, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:4], other[:4], strict=True))
        assert one.id == other.id
    assert not torch.equal(seen[0][0].support, seen[0][1].support)


class Counting(PoolClassifier):
    """Counts the pictures that its teachers are shown."""

    def __init__(self, pool: str) -> None:
        super().__init__(pool)
        self.calls: list[int] = []

    @property
    def shown(self) -> int:
        return sum(self.calls)

    def represent(self, images: Tensor, weights: Weights) -> Tensor:
        self.calls.append(len(images))
        return super().represent(images, weights)


def test_teachers_are_shown_each_picture_once_where_episodes_would_show_it_more_often(
    data: Batches, tmp_path: Path
) -> None:
    pictures, shown = open_split(data.root, data.dataset, "test").total, 3 * (1 + 3)
    data.test_episodes = pictures // shown + 1
    data.order = range(data.test_episodes)
    assert run(data, tmp_path, counted := Counting(data.pool)).seen[0].support.dim() == 2
    assert counted.shown == pictures
    data.test_episodes = pictures // shown
    data.order = range(data.test_episodes)
    assert run(data, tmp_path, counted := Counting(data.pool)).seen[0].support.dim() == 4
    assert counted.shown == data.test_episodes * shown


@pytest.mark.parametrize("head", ["cosine", "logistic"])
def test_pictures_represented_once_give_the_logits_of_those_represented_in_each_episode(
    head: HeadName, data: Batches, tmp_path: Path
) -> None:
    data.test_episodes, data.order = 60, range(60)
    learner = PoolClassifier(data.pool, head=head, representation="logits")
    once = run(data, tmp_path, learner, precision="64-true").seen
    again = RealEpisodes(open_split(data.root, data.dataset, "test"), data.normalisation, 3, 1, 3, 60, data.seed)
    for represented, shown in zip(once, (again[i] for i in range(60)), strict=True):
        assert represented.support.shape == (3, 9)
        support, query = shown.support.double(), shown.query.double()
        wanted = learner.logits(query, learner.adapt({}, support, shown.support_labels))
        fast = learner.adapt({}, represented.support, represented.support_labels)
        torch.testing.assert_close(learner.logits(represented.query, fast), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("head", ["cosine", "ridge"])
def test_a_head_is_fitted_in_float32_whatever_its_features_were_kept_in(head: HeadName, data: Batches) -> None:
    learner = PoolClassifier(data.pool, head=head)
    learner.build(3, 3, 16, seed=0)
    kept = torch.randn(6, 3 * 32).bfloat16()
    fast = learner.adapt({}, kept, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert learner.logits(kept, fast).dtype == torch.float32


def test_a_learner_whose_images_see_one_another_is_given_the_images(data: Batches, tmp_path: Path) -> None:
    data.test_episodes, data.order = 60, range(60)
    learners: list[Learner] = [maml(), FeatureClassifier("conv4", {"width": 4})]
    for learner in learners:
        assert run(data, tmp_path, learner).seen[-1].support.shape == (3, 3, 16, 16)


def test_calibration_changes_no_weight_of_the_meta_model(data: Batches, tmp_path: Path) -> None:
    learner = maml()
    learner.build(3, 3, 16, seed=0)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    module = run(data, tmp_path, learner, CalibrationSettings(steps=3, lr=1.0))
    assert "icfil" in module.results["results"][-1]
    assert before.keys() == learner.state_dict().keys()
    assert all(torch.equal(before[name], value) for name, value in learner.state_dict().items())


def test_maml_takes_its_test_steps_though_it_was_built_in_training_mode(data: Batches, tmp_path: Path) -> None:
    learner = Maml("conv4", {"width": 4}, inner_steps=1, test_inner_steps=0)
    module = run(data, tmp_path, learner)
    assert not learner.training
    module.learner.train()
    module.trainer = Trainer(accelerator="cpu", logger=False)
    module.setup("test")
    assert not learner.training


@pytest.mark.parametrize("scored", [[0, 1, 2, 3, 4, 5], [0, 2, 4, 6], [1, 2, 3, 4, 5, 6], [0, 0, 1, 2, 3, 4, 5]])
def test_episodes_that_were_lost_are_not_passed_over(scored: list[int], data: Batches, tmp_path: Path) -> None:
    data.order = scored
    with pytest.raises(
        PurerError, match=r"Expected the episodes 0 to 6 to be scored.*leave trainer\.use_distributed_sampler false"
    ):
        run(data, tmp_path, maml())
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(("limit", "left"), [(2, 2), (0.5, 3), (1, 1), (20, EPISODES)])
def test_an_explicit_limit_scores_the_first_episodes(limit: float, left: int, data: Batches, tmp_path: Path) -> None:
    run(data, tmp_path, maml(), limit_test_batches=limit)
    assert [row[0] for row in rows(tmp_path)[1:]] == [str(number) for number in range(left)]


def test_a_limit_excuses_no_gap(data: Batches, tmp_path: Path) -> None:
    data.order = [0, 2, 4, 6]
    with pytest.raises(
        PurerError, match=r"Expected the episodes 0 to 1 .*lower data\.test_episodes in place of a limit on batches"
    ):
        run(data, tmp_path, maml(), limit_test_batches=2)


def test_one_episode_has_no_interval_and_the_result_is_still_json(data: Batches, tmp_path: Path) -> None:
    module = run(data, tmp_path, maml(), QUICK, limit_test_batches=1)
    (row,) = result(tmp_path)["results"]
    assert [row[name]["ci95"] for name in ("plain", "icfil", "icfil_minus_plain")] == [None] * 3
    assert row["plain"]["mean"] == float(rows(tmp_path)[1][1])
    assert math.isinf(module.results["results"][0]["plain"]["ci95"])


def test_a_result_says_what_was_scored_on_what_and_how(data: Batches, tmp_path: Path) -> None:
    run(data, tmp_path, maml())
    found = result(tmp_path)
    assert (found["precision"], found["processes"], found["pool"]) == ("32-true", 1, data.pool)
    shape = {"architecture": "conv4", "arguments": {"width": 4}, "way": 3, "channels": 3, "image_size": 16}
    assert found["meta_model"].items() >= shape.items()


def test_the_result_is_written_last(data: Batches, tmp_path: Path) -> None:
    (tmp_path / "episodes.csv").mkdir()
    with pytest.raises(PurerError, match=r"Cannot write .*episodes.csv"):
        run(data, tmp_path, maml())
    assert [found.name for found in tmp_path.iterdir()] == ["episodes.csv"]


def test_a_pool_of_teachers_is_described_by_their_networks_and_has_none_of_its_own(
    data: Batches, tmp_path: Path
) -> None:
    learner = PoolClassifier(data.pool)
    run(data, tmp_path, learner)
    found = result(tmp_path)["meta_model"]
    assert [network["architecture"] for network in found["architectures"]] == ["conv4"] * 3
    assert not {"architecture", "arguments"} & found.keys()
    assert (found["way"], found["channels"], found["image_size"]) == (3, 3, 16)
    assert list(learner.parameters()) == []
    assert not learner.state_dict()


def test_a_logit_that_is_not_finite_is_no_accuracy(data: Batches, tmp_path: Path) -> None:
    with pytest.raises(PurerError, match=r"'plain' gave others on episode 0; lower model.learner.init_args.inner_lr"):
        run(data, tmp_path, Broken("conv4", {"width": 4}))


def test_a_calibration_that_diverges_names_its_own_settings(data: Batches, tmp_path: Path) -> None:
    diverging = CalibrationSettings(steps=8, lr=1e30)
    with pytest.raises(PurerError, match=r"'icfil' gave others on episode 0; lower evaluation\.calibration\.lr or"):
        run(data, tmp_path, maml(), diverging)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("temperature", 0), ("temperature", -1.0), ("temperature", math.nan)],
        *[("steps", -1), ("images_per_class", 0), ("inversion_steps", -1), ("inversion_lr", -0.1)],
        *[("lr", -0.1), ("lr", math.inf)],
    ],
)
def test_calibration_settings_out_of_range_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(PurerError, match=rf"Expected evaluation\.calibration\.{name} to be .* but got {value}\."):
        IcfilEvaluation(maml(), CalibrationSettings(**{name: value}))  # type: ignore[arg-type]


def test_the_command_line_answers_a_temperature_of_zero_in_one_sentence(
    data: Batches, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--data.dataset", "toy", "--data.root", data.root, "--data.pool", data.pool, "--run", str(tmp_path)]
    with pytest.raises(SystemExit) as stopped:
        main(["test", "--config", "demo.yaml", *where, "--evaluation.calibration.temperature", "0"])
    said = capsys.readouterr().err
    assert stopped.value.code in (1, 2)
    (sentence,) = [line for line in said.splitlines() if line.startswith("purer")]
    assert "Expected evaluation.calibration.temperature to be above 0 and finite, but got 0" in sentence
    assert "Traceback" not in said


def test_a_checkpoint_of_another_network_is_refused_when_it_is_loaded() -> None:
    learner = maml()
    learner.build(3, 3, 16, seed=0)
    content = {"meta_model": learner.describe() | {"outputs": 5}, "state_dict": learner.state_dict()}
    with pytest.raises(PurerError, match="outputs 5, but the settings say 3"):
        IcfilEvaluation(learner).on_load_checkpoint(content)
