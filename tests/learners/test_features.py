"""Learners that fit a head to features, against the plain reference in float64, and through `purer fit`."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

import reference
from purer_lightning.cli import main
from purer_lightning.learners import R2D2, FeatureClassifier, FeatureLearner, ProtoNet
from purer_lightning.learners.heads import HeadName, make_head

Mode = Literal["transductive", "support", "running"]
MODES: tuple[Mode, ...] = ("transductive", "support", "running")
NAMES: tuple[HeadName, ...] = ("cosine", "euclidean", "ridge", "logistic")
WAY, OUTPUTS = 3, 7
LABELS = torch.tensor([2, 0, 1, 0, 2, 1, 1])
ARCHITECTURE = ("conv4", {"width": 4})


def made(learner: FeatureLearner) -> FeatureLearner:
    learner.build(WAY, 3, 16, seed=0)
    network = reference.make_network(2, learner.outputs or WAY, remembers=learner.batchnorm == "running")
    learner.network.load_state_dict(network.state_dict())
    return learner.double().eval()


def pictures(count: int, seed: int) -> Tensor:
    return torch.randn(count, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def support() -> Tensor:
    return pictures(len(LABELS), 0)


def answers(learner: FeatureLearner, images: Tensor | None = None, labels: Tensor = LABELS) -> Tensor:
    images = support() if images is None else images
    return learner.logits(pictures(4, 1), learner.adapt(learner.weights(), images, labels, second_order=True))


def plain_features(learner: FeatureLearner, theta: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the reference's features of support and query images in the learner's BatchNorm mode."""
    remembered = reference.remembered_by(learner.network) if learner.batchnorm == "running" else None
    features, seen = reference.conv4_features(theta, support(), remembered)
    fixed = seen if learner.batchnorm == "support" else remembered
    return features, reference.conv4_features(theta, pictures(4, 1), fixed)[0]


@pytest.mark.parametrize("representation", ["features", "logits"])
@pytest.mark.parametrize("batchnorm", MODES)
@pytest.mark.parametrize("name", NAMES)
def test_logits_are_the_heads_on_the_networks_features_or_logits(
    name: HeadName, batchnorm: Mode, representation: Literal["features", "logits"]
) -> None:
    learner = made(FeatureClassifier(*ARCHITECTURE, name, representation, 0.5, batchnorm, OUTPUTS))
    theta = reference.parameters_of(learner.network)
    given = plain_features(learner, theta)
    if representation == "logits":
        weight, bias = theta[16:]
        given = tuple(features @ weight.T + bias for features in given)  # type: ignore[assignment]
    head = make_head(name, 0.5)
    wanted = head.logits(given[1], head.fit(given[0], LABELS, WAY))
    torch.testing.assert_close(answers(learner), wanted, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_renaming_classes_and_reordering_the_support_set_permutes_the_logits(name: HeadName) -> None:
    learner = made(FeatureClassifier(*ARCHITECTURE, name))
    order, renamed = torch.tensor([3, 6, 0, 5, 1, 4, 2]), torch.tensor([1, 2, 0])
    found = answers(learner, support()[order], renamed[LABELS[order]])
    torch.testing.assert_close(found[:, renamed], answers(learner), rtol=1e-8, atol=1e-9)


def test_a_support_image_is_nearest_to_its_own_class_at_one_shot() -> None:
    learner = made(FeatureClassifier(*ARCHITECTURE, batchnorm="support"))
    images, labels = pictures(WAY, 0), torch.tensor([1, 2, 0])
    found = learner.logits(images, learner.adapt(learner.frozen_weights(), images, labels))
    torch.testing.assert_close(found[range(WAY), labels], torch.ones(WAY, dtype=torch.float64))
    assert torch.equal(found.argmax(dim=1), labels)


def prototypes(features: Tensor, queries: Tensor, *_: Tensor) -> Tensor:
    centres = torch.stack([features[label == LABELS].mean(dim=0) for label in range(WAY)])
    return torch.stack([torch.stack([-((query - centre) ** 2).sum() for centre in centres]) for query in queries])


def scaled_cosines(features: Tensor, queries: Tensor, log_scale: Tensor) -> Tensor:
    def unit(row: Tensor) -> Tensor:
        return row / reference.norm(row)

    near = torch.stack([unit(row) for row in features])
    centres = [unit(near[label == LABELS].mean(dim=0)) for label in range(WAY)]
    return log_scale.exp() * torch.stack([torch.stack([unit(q) @ centre for centre in centres]) for q in queries])


def regression(features: Tensor, queries: Tensor, log_regularisation: Tensor, log_scale: Tensor) -> Tensor:
    targets = torch.eye(WAY, dtype=torch.float64)[LABELS]
    ridge = log_regularisation.exp() * torch.eye(features.shape[1], dtype=torch.float64)
    weight: Tensor = torch.linalg.inv(features.T @ features + ridge) @ features.T @ targets
    return log_scale.exp() * queries @ weight


TRAINED: list[tuple[Callable[[Mode], FeatureLearner], Callable[..., Tensor]]] = [
    (lambda mode: ProtoNet(*ARCHITECTURE, batchnorm=mode), prototypes),
    (lambda mode: ProtoNet(*ARCHITECTURE, "cosine", 5.0, mode), scaled_cosines),
    (lambda mode: R2D2(*ARCHITECTURE, 2.0, 5.0, mode), regression),
]


@pytest.mark.parametrize("batchnorm", MODES)
@pytest.mark.parametrize(("make", "plain"), TRAINED, ids=["euclidean", "cosine", "ridge"])
def test_the_meta_gradient_is_that_of_the_plain_formula(
    make: Callable[[Mode], FeatureLearner], plain: Callable[..., Tensor], batchnorm: Mode
) -> None:
    learner, truth = made(make(batchnorm)), torch.tensor([0, 1, 2, 1])
    theta = reference.parameters_of(learner.network)
    learnt = [value.detach().clone().requires_grad_() for value in learner.learnt.values()]
    wanted = reference.cross_entropy(plain(*plain_features(learner, theta), *learnt), truth)
    found = reference.cross_entropy(answers(learner), truth)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    own = dict(learner.network.named_parameters())
    moved = [own[name] for name in reference.PARAMETERS[:16]]
    gradients = torch.autograd.grad(found, [*moved, *learner.learnt.values()])
    for gradient, other in zip(gradients, torch.autograd.grad(wanted, [*theta[:16], *learnt]), strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("make", [make for make, _ in TRAINED[1:]], ids=["cosine", "ridge"])
def test_what_a_head_learns_is_a_parameter_and_stands_in_the_checkpoint(make: Callable[[Mode], FeatureLearner]) -> None:
    learner = made(make("transductive"))
    names = {name for name in learner.state_dict() if not name.startswith("network.")}
    assert {f"learnt.{name}" for name in learner.learnt} == names
    assert names <= dict(learner.named_parameters()).keys()
    assert names <= learner.weights().keys()


def test_nothing_but_the_network_is_in_the_state_of_a_head_without_learnt_settings() -> None:
    for learner in (FeatureClassifier(*ARCHITECTURE), ProtoNet(*ARCHITECTURE)):
        assert all(name.startswith("network.") for name in made(learner).state_dict())


@pytest.mark.parametrize("learner", [FeatureClassifier(), ProtoNet(), R2D2()])
def test_icfil_does_not_apply_to_fast_weights_that_are_not_the_networks(learner: FeatureLearner) -> None:
    assert not learner.calibratable


@pytest.mark.parametrize("name", NAMES)
def test_under_autocast_a_head_computes_in_float32(name: HeadName) -> None:
    learner = made(FeatureClassifier(*ARCHITECTURE, name, "logits", batchnorm="running")).float()
    with torch.autocast("cpu", torch.bfloat16):
        fast = learner.adapt(learner.frozen_weights(), support().float(), LABELS)
        found = learner.logits(pictures(4, 1).float(), fast)
    assert found.dtype == torch.float32
    assert all(value.dtype == torch.float32 for key, value in fast.items() if key.startswith("fitted."))
    assert found.isfinite().all()


@pytest.mark.parametrize(
    ("learner", "settings"), [("ProtoNet", ("--model.learner.init_args.distance", "cosine")), ("R2D2", ())]
)
def test_fit_trains_the_learnt_settings_and_test_takes_them_from_the_checkpoint(
    learner: str, settings: tuple[str, ...], toy_data: Path, toy_pool: Path, tmp_path: Path
) -> None:
    where = ("--data.dataset", "toy", "--data.root", str(toy_data), "--data.pool", str(toy_pool))
    small = ("--data.way", "3", "--data.query", "3", "--data.validation_episodes", "2", "--data.test_episodes", "3")
    quiet = ("--trainer.max_steps", "2", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false")
    chosen = ("--model.learner", f"purer_lightning.learners.{learner}", *settings, "--run", str(tmp_path))
    flags = ("--config", "demo.yaml", *where, *small, *quiet, "--synthesis.initial_steps", "0", *chosen)
    main(["fit", *flags])
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    learnt = {name: value for name, value in state.items() if name.startswith("learner.learnt.")}
    fresh = {"ProtoNet": ProtoNet(distance="cosine"), "R2D2": R2D2()}[learner].learnt
    assert len(learnt) == len(fresh)
    for name, value in learnt.items():
        # Two steps of Adam at 0.003, whatever the gradient's size.
        assert 1e-4 < abs(value - fresh[name.removeprefix("learner.learnt.")]) < 7e-3
    main(["test", *flags, "--ckpt_path", str(checkpoint)])
    assert (tmp_path / "test" / "results.json").is_file()
