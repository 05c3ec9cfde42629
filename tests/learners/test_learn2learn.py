"""learn2learn's MAML behind the learner protocol computes what ours does; skipped where it is not installed."""

import sys
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from purer_lightning.errors import PurerError
from purer_lightning.learners.base import BatchNormMode, Learner
from purer_lightning.learners.learn2learn_maml import Learn2LearnMaml, engine
from purer_lightning.learners.maml import Maml

SUPPORT_LABELS = torch.arange(3).repeat_interleave(2)
QUERY_LABELS = torch.arange(3).repeat_interleave(4)
MODES: tuple[BatchNormMode, ...] = ("transductive", "support", "running")

installed = pytest.mark.skipif(
    find_spec("learn2learn") is None, reason="learn2learn is not installed: make learn2learn"
)


def make_learner(kind: type[Maml], dtype: torch.dtype = torch.float64, **settings: Any) -> Maml:
    learner = kind("conv4", {"width": 8}, **({"inner_lr": 0.05} | settings))
    learner.build(3, 3, 16, seed=0)
    return learner.to(dtype).train()


def pictures(labels: Tensor, seed: int, dtype: torch.dtype) -> Tensor:
    drawn = torch.randn(len(labels), 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return drawn.to(dtype)


def meta_gradients(learner: Learner, *, second_order: bool) -> dict[str, Tensor]:
    """Gradients of the query loss by parameter, and by the support images as the adversarial data step needs them."""
    dtype = next(learner.parameters()).dtype
    support = pictures(SUPPORT_LABELS, 0, dtype).requires_grad_()
    fast = learner.adapt(learner.weights(), support, SUPPORT_LABELS, second_order=second_order)
    loss = F.cross_entropy(learner.logits(pictures(QUERY_LABELS, 1, dtype), fast), QUERY_LABELS)
    named = dict(learner.network.named_parameters()) | ({"support images": support} if second_order else {})
    return dict(zip(named, torch.autograd.grad(loss, tuple(named.values())), strict=True))


def difference(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """Largest relative difference over tensors, each as ||found - wanted|| / ||wanted||.

    Norms below a hundredth of the largest count as that: biases in front of BatchNorm have gradients of rounding alone.
    """
    assert found.keys() == wanted.keys()
    least = max(float(value.norm()) for value in wanted.values()) / 100
    return max(float((found[name] - value).norm()) / max(float(value.norm()), least) for name, value in wanted.items())


@installed
@pytest.mark.parametrize("batchnorm", MODES)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_fast_weights_agree(steps: int, batchnorm: BatchNormMode) -> None:
    both = [make_learner(kind, inner_steps=steps, batchnorm=batchnorm) for kind in (Learn2LearnMaml, Maml)]
    support = pictures(SUPPORT_LABELS, 0, torch.float64)
    found, wanted = (learner.adapt(learner.weights(), support, SUPPORT_LABELS) for learner in both)
    detached = [{name: value.detach().double() for name, value in fast.items()} for fast in (found, wanted)]
    assert difference(*detached) < 1e-14


@installed
@pytest.mark.parametrize("batchnorm", MODES)
@pytest.mark.parametrize("second_order", [True, False], ids=["second order", "first order"])
@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-12), (torch.float32, 1e-6)], ids=["double", "single"])
def test_meta_gradients_agree(dtype: torch.dtype, most: float, second_order: bool, batchnorm: BatchNormMode) -> None:
    settings = {"inner_steps": 3, "batchnorm": batchnorm}
    found, wanted = (
        meta_gradients(make_learner(kind, dtype, **settings), second_order=second_order)
        for kind in (Learn2LearnMaml, Maml)
    )
    apart = difference(found, wanted)
    print(f"{batchnorm}, {'second' if second_order else 'first'} order, {dtype}: {apart:.1e}")
    assert apart < most


@installed
def test_first_and_second_order_differ() -> None:
    learner = make_learner(Learn2LearnMaml)
    second, first = (meta_gradients(learner, second_order=order) for order in (True, False))
    del second["support images"]
    assert difference(first, second) > 1e-3


@installed
def test_adapting_frozen_weights_leaves_the_network_alone() -> None:
    learner = make_learner(Learn2LearnMaml, test_inner_steps=2).eval()
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    fast = learner.adapt(learner.frozen_weights(), pictures(SUPPORT_LABELS, 0, torch.float64), SUPPORT_LABELS)
    torch.autograd.backward([value.square().sum() for value in fast.values()])
    assert all(parameter.grad is None and parameter.is_leaf for parameter in learner.parameters())
    assert all(torch.equal(value, before[name]) for name, value in learner.network.state_dict().items())


@installed
def test_a_later_import_of_learn2learn_is_the_users_own() -> None:
    make_learner(Learn2LearnMaml)
    assert not [name for name in sys.modules if name.startswith("learn2learn")]


def test_where_it_is_missing_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    engine.cache_clear()
    with pytest.raises(PurerError, match="make learn2learn"):
        make_learner(Learn2LearnMaml)
