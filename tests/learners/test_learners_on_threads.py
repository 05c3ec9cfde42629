"""Every learner may be used from any number of threads: the same bits as from one, and it stays as it is."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pool.pools import store
from purer_lightning.episode import Episode, labels_in_order
from purer_lightning.learners import R2D2, FeatureClassifier, Learner, Maml, ProtoNet
from purer_lightning.learners.base import BatchNormMode, adapted
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


def logits(learner: Learner, given: Episode) -> Tensor:
    """Return what a learner that has adapted to the support set answers to the query images."""
    fast = adapted(learner, given.support, given.support_labels)
    with torch.no_grad():
        return learner.logits(given.query, fast)


@pytest.mark.parametrize("mode", ["transductive", "support", "running"])
def test_threads_that_share_a_learner_get_the_bits_that_one_gets(mode: BatchNormMode, pool: str) -> None:
    episodes = [episode(number) for number in range(12)]
    for learner in learners(mode, pool):
        learner.build(WAY, 3, SIZE, seed=0)
        learner.eval()
        before = {name: value.clone() for name, value in learner.state_dict().items()}
        answer = partial(logits, learner)
        alone = [answer(each) for each in episodes]
        with ThreadPoolExecutor(8) as threads:
            together = list(threads.map(answer, episodes))
        for one, other in zip(together, alone, strict=True):
            assert torch.equal(one, other)
        torch.testing.assert_close(dict(learner.state_dict()), before, rtol=0, atol=0)
