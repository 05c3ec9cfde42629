"""How an episode is scored: adapt, calibrate if asked for, count. Validation, test and benchmarks do it here alone."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from purer_lightning.compute.precision import full_precision
from purer_lightning.episode import Episode
from purer_lightning.evaluation.icfil import CalibrationSettings, calibrate
from purer_lightning.evaluation.metrics import ICFIL, PLAIN
from purer_lightning.learners.base import Learner, adapted, episode_accuracy


def score(episode: Episode, learner: Learner, calibration: CalibrationSettings | None, seed: int) -> dict[str, Tensor]:
    """Return the accuracy on one episode by method, scalars in 0 to 1. Needs gradients enabled.

    Args:
        episode: real or pseudo; its query images have no influence on the adapted weights.
        learner: in evaluation mode: Maml takes its test steps there, and its training steps elsewhere.
        calibration: ICFIL's settings; None leaves it out.
        seed: the run's; with the episode's number it determines ICFIL's pseudo images.

    Returns:
        NaN where a logit is not finite.
    """
    fast = adapted(learner, episode.support, episode.support_labels)
    accuracies = {PLAIN: episode_accuracy(learner, episode, fast)}
    if calibration:
        with full_precision(episode.support):
            calibrated = calibrate(
                learner, fast, episode.support, episode.support_labels, calibration, seed, episode.id
            )
        accuracies[ICFIL] = episode_accuracy(learner, episode, calibrated)
    return accuracies


def score_episodes(
    learner: Learner, episodes: Sequence[Episode], calibration: CalibrationSettings | None, seed: int
) -> list[dict[str, Tensor]]:
    """Return what ``score`` does for each episode, as many at once as there are threads; no episode sees another."""
    work = partial(score, learner=learner, calibration=calibration, seed=seed)
    return list(learner.backend.map(work, episodes, episodes[0].support))
