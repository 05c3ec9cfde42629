"""Mean and interval over episodes against numpy; ids sorted and each counted once."""

import math

import numpy as np
import pytest
import torch

from purer_lightning.evaluation.metrics import Z95, EpisodeAccuracy, interval, summarise


@pytest.mark.parametrize("episodes", [2, 7, 600])
def test_interval_is_mean_and_normal_half_width_with_the_sample_deviation(episodes: int) -> None:
    values = np.random.default_rng(0).random(episodes)
    found = interval(torch.from_numpy(values))
    assert found.episodes == episodes
    assert found.mean == pytest.approx(np.mean(values), rel=1e-12)
    assert found.ci95 == pytest.approx(1.959963984540054 * np.std(values, ddof=1) / math.sqrt(episodes), rel=1e-12)


def test_interval_of_float32_values_is_computed_in_float64() -> None:
    values = torch.full((2000,), 0.1)
    found = interval(values)
    assert found.mean == pytest.approx(float(np.float32(0.1)), rel=1e-15)
    assert found.ci95 == pytest.approx(0, abs=1e-15)


def test_a_single_episode_has_an_infinite_interval() -> None:
    assert interval(torch.tensor([0.4])).ci95 == math.inf


def test_accuracies_come_out_by_ascending_id_with_repeated_episodes_dropped() -> None:
    metric = EpisodeAccuracy()
    for episode, accuracy in [(5, 0.5), (1, 0.1), (5, 0.5), (3, 0.3), (1, 0.1)]:
        metric.update(episode, torch.tensor(accuracy))
    ids, accuracies = metric.compute()
    assert ids.tolist() == [1, 3, 5]
    torch.testing.assert_close(accuracies, torch.tensor([0.1, 0.3, 0.5]))


def test_reset_forgets_all_episodes() -> None:
    metric = EpisodeAccuracy()
    metric.update(0, torch.tensor(0.1))
    metric.compute()
    metric.reset()
    for episode in (4, 2):
        metric.update(episode, torch.tensor(0.4))
    assert metric.compute()[0].tolist() == [2, 4]


def test_one_episode_alone_comes_out_as_a_list_of_one() -> None:
    metric = EpisodeAccuracy()
    metric.update(4, torch.tensor(0.4))
    ids, accuracies = metric.per_episode()
    assert ids.tolist() == [4]
    assert math.isinf(interval(accuracies).ci95)


def test_a_summary_is_of_prefixes_and_its_difference_is_paired() -> None:
    rng = np.random.default_rng(0)
    plain, icfil = rng.random(50), rng.random(50)
    found = summarise({"plain": torch.from_numpy(plain), "icfil": torch.from_numpy(icfil)}, [20, 10, 90])
    assert [row["episodes"] for row in found] == [10, 20, 50]
    for row in found:
        n = row["episodes"]
        values = {"plain": plain[:n], "icfil": icfil[:n], "icfil_minus_plain": icfil[:n] - plain[:n]}
        for name, wanted in values.items():
            assert row[name]["mean"] == pytest.approx(wanted.mean(), rel=1e-12)
            assert row[name]["ci95"] == pytest.approx(Z95 * wanted.std(ddof=1) / math.sqrt(n), rel=1e-12)
