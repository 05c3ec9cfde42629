"""What is learnt through fused blocks: meta-gradients, adaptation and ICFIL are those of the plain network."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from purer_lightning.compute.backend import PLAIN
from purer_lightning.engine.blocks import FusedBlock
from purer_lightning.engine.choice import compiled
from purer_lightning.engine.compilation import library
from purer_lightning.episode import labels_in_order
from purer_lightning.evaluation.icfil import CalibrationSettings, calibrate
from purer_lightning.learners.maml import Maml

pytestmark = pytest.mark.skipif(library().functions is None, reason="needs a C++ compiler")

QUERY = 2


def learners(way: int, channels: int, size: int, **settings: Any) -> tuple[Maml, Maml]:
    made = []
    for backend in (PLAIN, compiled()):
        learner = Maml(inner_lr=0.1, **settings)
        learner.build(way, channels, size, seed=0, backend=backend)
        made.append(learner.double().train())
    return made[0], made[1]


def images(count: int, channels: int, size: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, size, size, generator=rng, dtype=torch.float64)


def meta_gradient(learner: Maml, way: int, shot: int, channels: int, size: int) -> tuple[Tensor, ...]:
    """Return the outer loss and its gradients with respect to support, query and all weights."""
    support, query = (images(way * count, channels, size, count).requires_grad_() for count in (shot, QUERY))
    weights = learner.weights()
    labels = labels_in_order(way, shot)
    fast = learner.adapt(weights, support, labels, second_order=learner.second_order)
    loss = F.cross_entropy(learner.logits(query, fast), labels_in_order(way, QUERY))
    wanted = [support, query, *(value for value in weights.values() if value.requires_grad)]
    found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
    return (loss, *found)


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ((5, 1, 3, 32), {"arguments": {"width": 32}}),
        ((5, 1, 3, 32), {"arguments": {"width": 32}, "inner_steps": 3}),
        ((3, 2, 1, 28), {"arguments": {"width": 12}, "inner_steps": 2, "batchnorm": "support"}),
        ((2, 3, 3, 84), {"arguments": {"width": 8}, "batchnorm": "support"}),
        ((4, 1, 5, 21), {"arguments": {"width": 20}, "inner_steps": 2, "first_order": True}),
        ((4, 2, 3, 17), {"arguments": {"width": 7}, "inner_steps": 2, "batchnorm": "running"}),
        ((4, 2, 3, 17), {"arguments": {"width": 7}, "outputs": 9}),
    ],
)
def test_the_meta_gradient_is_the_plain_one(task: tuple[int, int, int, int], settings: dict[str, Any]) -> None:
    plain, fused = learners(task[0], task[2], task[3], **settings)
    torch.testing.assert_close(meta_gradient(fused, *task), meta_gradient(plain, *task), rtol=1e-9, atol=1e-11)


def test_no_block_of_a_meta_step_takes_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FusedBlock, "_plain", lambda *_: pytest.fail("took the plain path"))
    meta_gradient(learners(2, 3, 16, arguments={"width": 5})[1], 2, 1, 3, 16)


@pytest.mark.parametrize("batchnorm", ["transductive", "support"])
def test_calibration_is_the_plain_one(batchnorm: str) -> None:
    settings = CalibrationSettings(images_per_class=2, inversion_steps=3, steps=2)
    found = []
    for learner in learners(3, 3, 20, batchnorm=batchnorm, arguments={"width": 6}):
        support, labels = images(6, 3, 20, seed=7), labels_in_order(3, 2)
        fast = learner.adapt(learner.frozen_weights(), support, labels)
        found.append(calibrate(learner, fast, support, labels, settings, seed=0, task=1))
    torch.testing.assert_close(found[1], found[0], rtol=1e-8, atol=1e-10)
