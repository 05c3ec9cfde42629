"""Every learner's twin answers as the learner does, also beside others on threads, and leaves it as it is."""

from pathlib import Path

import pytest
import torch

from pool.pools import store
from purer_lightning.compute.threads import side_by_side
from purer_lightning.episode import Episode, labels_in_order
from purer_lightning.learners import R2D2, FeatureClassifier, Learner, Maml, ProtoNet
from purer_lightning.learners.base import BatchNormMode, adapted_accuracy
from purer_lightning.learners.pool_baselines import PoolClassifier, TeacherFineTune

WAY, SHOT, QUERY, SIZE = 3, 2, 4, 16
SMALL = {"width": 4}


@pytest.fixture
def pool(tmp_path: Path) -> str:
    for name, ids in {"one": [0, 1, 2], "two": [3, 4]}.items():
        store(tmp_path, name, ids)
    return str(tmp_path)


def episode(number: int) -> Episode:
    rng = torch.Generator().manual_seed(number)
    support, query = (torch.randn(WAY * count, 3, SIZE, SIZE, generator=rng) for count in (SHOT, QUERY))
    return Episode(support, labels_in_order(WAY, SHOT), query, labels_in_order(WAY, QUERY), number)


def learners(mode: BatchNormMode, pool: str) -> list[Learner]:
    own = [kind("conv4", SMALL, batchnorm=mode) for kind in (Maml, FeatureClassifier, ProtoNet, R2D2)]
    return [*own, PoolClassifier(pool), TeacherFineTune(pool, "one", 2, batchnorm=mode)]


@pytest.mark.parametrize("mode", ["transductive", "support", "running"])
def test_a_twin_gives_the_same_logits_and_threads_the_same_accuracies(mode: BatchNormMode, pool: str) -> None:
    episodes = [episode(number) for number in range(12)]
    for learner in learners(mode, pool):
        learner.build(WAY, 3, SIZE, seed=0)
        learner.eval()
        before = {name: value.clone() for name, value in learner.state_dict().items()}
        logits = [
            made.logits(
                episodes[0].query,
                made.adapt(made.frozen_weights(), episodes[0].support, episodes[0].support_labels),
            )
            for made in (learner, learner.twin())
        ]
        assert torch.equal(*logits)
        alone = [adapted_accuracy(learner, each) for each in episodes]
        torch.set_num_threads(3)
        together = list(side_by_side(lambda each: adapted_accuracy(learner, each), episodes, episodes[0].support))  # noqa: B023
        torch.set_num_threads(1)
        assert together == alone
        torch.testing.assert_close(dict(learner.state_dict()), before, rtol=0, atol=0)
