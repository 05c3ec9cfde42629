"""Episodes played in one batch give the gradients that they give one after the other."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import reference
from purer_lightning.compute.backend import PLAIN, Backend
from purer_lightning.engine.batched_episodes import BatchedEpisodes, can_be_batched
from purer_lightning.episode import EpisodePlan, draw_plan
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.learners.base import Learner
from purer_lightning.learners.learn2learn_maml import Learn2LearnMaml
from purer_lightning.learners.maml import Maml
from purer_lightning.learners.protonet import ProtoNet
from purer_lightning.objectives import Episodic
from purer_lightning.training.gradient import MetaGradient, episode_gradients, meta_gradient

WAY, EPISODES, LR = 3, 4, 0.1
SETTINGS: dict[str, dict[str, Any]] = {
    "one step": {},
    "three steps": {"inner_steps": 3},
    "first order": {"inner_steps": 2, "first_order": True},
    "no step": {"inner_steps": 0},
    "the support's statistics": {"inner_steps": 2, "batchnorm": "support"},
    "first order on the support's statistics": {"first_order": True, "batchnorm": "support"},
    "ANIL": {"inner_steps": 2, "adapted": "head"},
    "ANIL of first order": {"inner_steps": 2, "adapted": "head", "first_order": True},
    "ResNet": {"architecture": "resnet10"},
    "ResNet on the support's statistics": {"architecture": "resnet10", "batchnorm": "support"},
}


def learner(**settings: Any) -> Maml:
    made = Maml(arguments={"width": 4}, inner_lr=LR, **settings)
    made.build(WAY, 3, 16, seed=0)
    with torch.no_grad():
        rng = torch.Generator().manual_seed(1)
        for value in made.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=rng))
    return made.double().train()


def bank() -> ImageBank:
    rng = torch.Generator().manual_seed(2)
    return ImageBank(torch.randn(6, 7, 3, 16, 16, generator=rng, dtype=torch.float64))


def plan(shot: int = 2, episodes: int = EPISODES) -> EpisodePlan:
    return draw_plan(bank().counts, episodes, WAY, shot, 3, 0, torch.Generator().manual_seed(3))


def gradient(
    made: Learner, shot: int = 2, episodes: int = EPISODES, evaluate: BatchedEpisodes | None = None
) -> MetaGradient:
    """Return the meta-gradient, by ``evaluate`` if it is given."""
    made.backend = Backend({episode_gradients: evaluate}) if evaluate else PLAIN
    return meta_gradient(Episodic(), made, bank(), plan(shot, episodes))


@pytest.mark.parametrize("shot", [1, 2])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_gradient_difficulty_and_accuracy_are_those_of_one_episode_after_the_other(
    settings: dict[str, Any], shot: int
) -> None:
    made = learner(**settings)
    wanted = gradient(made, shot)
    assert wanted.gradient.abs().max() > 1e-3
    torch.testing.assert_close(
        tuple(gradient(made, shot, evaluate=BatchedEpisodes())), tuple(wanted), rtol=1e-9, atol=1e-11
    )


def test_the_gradient_is_that_of_the_equations() -> None:
    made = learner(inner_steps=2)
    theta = reference.parameters_of(made.network)
    episodes = reference.plain_episodes(plan(), bank().images)
    wanted = torch.autograd.grad(reference.outer_loss(theta, episodes, reference.Inner(LR, 2)), theta)
    found = gradient(made, evaluate=BatchedEpisodes()).gradient
    torch.testing.assert_close(found, torch.cat([each.flatten() for each in wanted]), rtol=1e-9, atol=1e-11)


def test_second_order_and_further_steps_are_in_it() -> None:
    batched = partial(gradient, evaluate=BatchedEpisodes())
    kinds: list[dict[str, Any]] = [{}, {"first_order": True}, {"inner_steps": 2}, {"adapted": "head"}]
    found = [batched(learner(**kind)).gradient for kind in kinds]
    for number, one in enumerate(found):
        assert not any(torch.allclose(one, other, rtol=1e-3) for other in found[number + 1 :])


def test_each_episode_has_its_own_row_and_none_gives_none() -> None:
    made, parts = learner(), plan().episodes()
    found = BatchedEpisodes()(Episodic(), made, bank(), parts)
    for ours, theirs in zip(found, episode_gradients(Episodic(), made, bank(), parts), strict=True):
        torch.testing.assert_close(tuple(ours), tuple(theirs), rtol=1e-9, atol=1e-11)
    assert BatchedEpisodes()(Episodic(), made, bank(), []) == []


def test_a_batch_of_another_size_and_a_moved_meta_model_are_noticed() -> None:
    made, batched = learner(), BatchedEpisodes()
    for episodes in (4, 1, 4):
        with torch.no_grad():
            next(made.parameters()).mul_(1.5)
        wanted = gradient(made, episodes=episodes)
        found = gradient(made, episodes=episodes, evaluate=batched)
        torch.testing.assert_close(tuple(found), tuple(wanted), rtol=1e-9, atol=1e-11)


def test_the_meta_model_is_left_alone() -> None:
    made = learner(batchnorm="support")
    before: dict[str, Tensor] = {name: value.clone() for name, value in made.state_dict().items()}
    gradient(made, evaluate=BatchedEpisodes())
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert all(parameter.grad is None for parameter in made.parameters())
    assert not any(module._forward_pre_hooks for module in made.modules())


@pytest.mark.parametrize("batchnorm", ["transductive", "support"])
def test_all_is_computed_on_the_images_device(batchnorm: str) -> None:
    """The device without memory refuses what is elsewhere, as a GPU would."""
    made, images = learner(batchnorm=batchnorm).to("meta"), ImageBank(bank().images.to("meta"))
    found = BatchedEpisodes()(Episodic(), made, images, plan().episodes())
    assert all(value.is_meta for each in found for value in each)


class OwnMaml(Maml):
    """Might adapt by any rule."""


@pytest.mark.parametrize(
    "made",
    [ProtoNet(), Learn2LearnMaml(), OwnMaml(), Maml(outputs=7), Maml(batchnorm="running")],
    ids=lambda made: type(made).__name__,
)
def test_a_learner_of_another_arithmetic_is_not_batched(made: Learner) -> None:
    assert can_be_batched(learner())
    made.network = learner().network
    assert not can_be_batched(made)
