"""Test episodes in one batch are scored as they are one after the other, with ICFIL too."""

from typing import Any

import pytest
import torch
from torch import Tensor

from engine.test_batched_episodes import SETTINGS, WAY, learner
from purer_lightning.engine import batched_scores
from purer_lightning.engine.batched_scores import BatchedScores
from purer_lightning.episode import Episode, labels_in_order
from purer_lightning.evaluation.icfil import CalibrationSettings, calibrate
from purer_lightning.evaluation.metrics import ICFIL, PLAIN
from purer_lightning.inversion.priors import InversionWeights
from purer_lightning.learners.base import episode_accuracy
from purer_lightning.learners.maml import Maml

SHOT, QUERY, SEED = 2, 3, 5
CALIBRATIONS = {
    "as it is": CalibrationSettings(),
    "two images a class": CalibrationSettings(images_per_class=2, steps=3, priors=InversionWeights(0.3, 0.7, 0.2)),
    "without the head": CalibrationSettings(head_weight=0.0, temperature=0.2, inversion_steps=2),
    "nothing inverted": CalibrationSettings(inversion_steps=0, steps=2),
}


def episode(number: int) -> Episode:
    rng = torch.Generator().manual_seed(number)
    halves = [torch.randn(WAY * each, 3, 16, 16, generator=rng, dtype=torch.float64) for each in (SHOT, QUERY)]
    return Episode(halves[0], labels_in_order(WAY, SHOT), halves[1], labels_in_order(WAY, QUERY), number)


EPISODES = [episode(number) for number in (3, 8, 1, 12)]


def adapted(made: Maml, one: Episode) -> dict[str, Tensor]:
    return made.adapt(made.frozen_weights(), one.support, one.support_labels)


def logits_of(made: Maml, calibration: CalibrationSettings | None, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Return what the batch made of the query images, before and after calibration: (episodes, N, way) each."""
    seen: list[Tensor] = []
    score = batched_scores.accuracies

    def noted(logits: Tensor, labels: Tensor) -> Tensor:
        seen.append(logits)
        return score(logits, labels)

    monkeypatch.setattr(batched_scores, "accuracies", noted)
    BatchedScores()(made, EPISODES, calibration, SEED)
    return seen


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_adapted_logits_are_those_of_one_episode_after_the_other(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = learner(**settings, test_inner_steps=4).eval()
    (found,) = logits_of(made, None, monkeypatch)
    for number, one in enumerate(EPISODES):
        wanted = made.logits(one.query, adapted(made, one))
        torch.testing.assert_close(found[number], wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("batchnorm", ["transductive", "support"])
@pytest.mark.parametrize("calibration", CALIBRATIONS.values(), ids=CALIBRATIONS)
def test_calibrated_logits_are_those_of_one_episode_after_the_other(
    calibration: CalibrationSettings, batchnorm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = learner(batchnorm=batchnorm).eval()
    before, found = logits_of(made, calibration, monkeypatch)
    assert not torch.allclose(before, found, rtol=1e-3)
    for number, one in enumerate(EPISODES):
        given = (one.support, one.support_labels, calibration, SEED, one.id)
        wanted = made.logits(one.query, calibrate(made, adapted(made, one), *given))
        torch.testing.assert_close(found[number], wanted, rtol=1e-9, atol=1e-10)


def test_accuracies_are_those_of_one_episode_after_the_other() -> None:
    made, calibration = learner(test_inner_steps=3).eval(), CalibrationSettings()
    scored = BatchedScores()(made, EPISODES, calibration, SEED)
    plain, calibrated = (torch.stack([one[method] for one in scored]) for method in (PLAIN, ICFIL))
    for number, one in enumerate(EPISODES):
        fast = adapted(made, one)
        assert plain[number] == episode_accuracy(made, one, fast)
        fast = calibrate(made, fast, one.support, one.support_labels, calibration, SEED, one.id)
        assert calibrated[number] == episode_accuracy(made, one, fast)
    assert len({*plain.tolist(), *calibrated.tolist()}) > 1


def test_one_broken_episode_is_no_number_and_spoils_no_other() -> None:
    broken = EPISODES[1]._replace(query=torch.full_like(EPISODES[1].query, torch.nan))
    found = BatchedScores()(learner().eval(), [EPISODES[0], broken, EPISODES[2]], None, SEED)
    assert [bool(one[PLAIN].isnan()) for one in found] == [False, True, False]


def test_all_is_computed_on_the_images_device() -> None:
    """The device without memory refuses what is elsewhere, as a GPU would."""
    made = learner(batchnorm="support").eval().to("meta")
    labels = [labels_in_order(WAY, each).to("meta") for each in (SHOT, QUERY)]
    elsewhere = [Episode(one.support.to("meta"), labels[0], one.query.to("meta"), labels[1], 0) for one in EPISODES]
    scored = BatchedScores()(made, elsewhere, CalibrationSettings(), SEED)
    assert all(value.is_meta for one in scored for value in one.values())
