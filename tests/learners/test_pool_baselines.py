"""Baselines made of a pool, against its teachers spelt out: who is asked, what is concatenated, what is fine-tuned."""

import json
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

import reference
from pool.pools import network, store
from purer_lightning.errors import PurerError
from purer_lightning.learners.cost import network_cost
from purer_lightning.learners.heads import HeadName, make_head
from purer_lightning.learners.pool_baselines import PoolClassifier, TeacherFineTune
from purer_lightning.nets import NetworkSpec

WAY, LR = 2, 0.05
LABELS = torch.tensor([0, 1, 1, 0, 1])
CLASSES = {"one": [0, 1, 2], "six": [3, 4], "two": [5, 6, 7]}
CHOICES = {"all": list(CLASSES), "best": ["six"], "two": ["two"]}


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Three teachers, the second of which is the best by its held-out accuracy."""
    for name, ids in CLASSES.items():
        store(tmp_path, name, ids)
    measure(tmp_path, [0.6, 0.9, None])
    return tmp_path


def measure(pool: Path, accuracies: list[float | None]) -> None:
    described = json.loads((pool / "pool.json").read_text())
    for teacher, accuracy in zip(described["teachers"], accuracies, strict=True):
        teacher["held_out_accuracy"] = accuracy
    (pool / "pool.json").write_text(json.dumps(described))


def pictures(count: int, seed: int) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def said(name: str, representation: str, images: Tensor) -> Tensor:
    """Return a teacher's features or logits in float64, by the reference."""
    teacher = network(len(CLASSES[name]), seed=CLASSES[name][0])
    theta, remembered = reference.parameters_of(teacher), reference.remembered_by(teacher)
    with torch.no_grad():
        if representation == "logits":
            return reference.conv4(theta, images.double(), remembered)
        return reference.conv4_features(theta, images.double(), remembered)[0]


@pytest.mark.parametrize("teachers", CHOICES)
@pytest.mark.parametrize("representation", ["features", "logits"])
@pytest.mark.parametrize("name", ["cosine", "euclidean", "ridge", "logistic"])
def test_logits_are_the_heads_on_what_the_chosen_teachers_say(
    name: HeadName, representation: Literal["features", "logits"], teachers: str, pool: Path
) -> None:
    learner = PoolClassifier(str(pool), teachers, name, representation, regularisation=0.5)
    learner.build(WAY, 3, 16, seed=0)
    support, query = (
        torch.cat([said(teacher, representation, images) for teacher in CHOICES[teachers]], dim=1)
        for images in (pictures(len(LABELS), 0), pictures(4, 1))
    )
    head = make_head(name, 0.5)
    wanted = head.logits(query, head.fit(support, LABELS, WAY))
    found = learner.logits(pictures(4, 1), learner.adapt(learner.frozen_weights(), pictures(len(LABELS), 0), LABELS))
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)


def test_teachers_keep_their_weights_and_give_no_graph(pool: Path) -> None:
    learner = PoolClassifier(str(pool))
    learner.build(WAY, 3, 16, seed=0)
    assert learner.adapt({}, pictures(len(LABELS), 0).requires_grad_(), LABELS)["fitted.centroids"].grad_fn is None
    for name, teacher, own in zip(CLASSES, learner._teachers, learner._judges.networks, strict=True):
        assert own.get_parameter("blocks.1.0.weight").is_contiguous(memory_format=torch.channels_last)
        stored = network(len(CLASSES[name]), seed=CLASSES[name][0]).state_dict()
        assert all(torch.equal(value, stored[key]) for key, value in teacher.network.state_dict().items())


def test_a_pool_states_the_cost_of_all_its_teachers_and_of_the_head(pool: Path) -> None:
    learner = PoolClassifier(str(pool), representation="logits", head="ridge")
    assert "parameters" not in learner.describe()
    learner.build(WAY, 3, 16, seed=0)
    alone = [network_cost(NetworkSpec("conv4", len(ids), 3, 16, {"width": 4})) for ids in CLASSES.values()]
    described = learner.describe()
    assert described["parameters"] == sum(cost.parameters for cost in alone) + (3 + 2 + 3) * WAY
    assert described["macs_per_query"] == sum(cost.macs for cost in alone) + (3 + 2 + 3) * WAY
    assert (described["head"], described["regularisation"], described["teachers"]) == ("ridge", 1.0, "all")
    assert "outputs" not in described


@pytest.mark.parametrize("adapted", ["all", "head"])
def test_fine_tuning_is_gradient_descent_from_the_best_teacher_under_a_head_of_zeros(
    adapted: Literal["all", "head"], pool: Path
) -> None:
    learner = TeacherFineTune(str(pool), test_inner_steps=3, inner_lr=LR, adapted=adapted)
    learner.build(WAY, 3, 16, seed=0)
    learner.double().eval()
    teacher = network(2, seed=3)
    theta, remembered = reference.parameters_of(teacher), reference.remembered_by(teacher)
    theta[16:] = [torch.zeros_like(value).requires_grad_() for value in theta[16:]]
    images = pictures(len(LABELS), 0).double()
    for _ in range(3):
        loss = reference.cross_entropy(reference.conv4(theta, images, remembered), LABELS)
        gradients = torch.autograd.grad(loss, theta)
        moved = range(16, 18) if adapted == "head" else range(18)
        theta = [v - LR * g if k in moved else v for k, (v, g) in enumerate(zip(theta, gradients, strict=True))]
    found = learner.logits(pictures(4, 1).double(), learner.adapt(learner.frozen_weights(), images, LABELS))
    wanted = reference.conv4(theta, pictures(4, 1).double(), remembered)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("batchnorm", ["transductive", "support", "running"])
def test_fine_tuning_leaves_the_teachers_weights_as_they_are(
    batchnorm: Literal["transductive", "support", "running"], pool: Path
) -> None:
    learner = TeacherFineTune(str(pool), "two", batchnorm=batchnorm).eval()
    learner.build(WAY, 3, 16, seed=0)
    fast = learner.adapt(learner.frozen_weights(), pictures(len(LABELS), 0), LABELS)
    assert learner.logits(pictures(4, 1), fast).shape == (4, WAY)
    stored = network(3, seed=5).state_dict()
    assert all(torch.equal(value, stored[name]) for name, value in learner.network.state_dict().items())
    said = learner.describe()
    assert (said["teacher"], said["outputs"], said["way"], said["arguments"]) == ("two", 3, WAY, {"width": 4})


def test_there_is_no_best_teacher_where_none_was_measured(pool: Path) -> None:
    measure(pool, [None, None, None])
    with pytest.raises(PurerError, match=r"none is known to be the best; .*: one, six, two\."):
        PoolClassifier(str(pool), "best").build(WAY, 3, 16, seed=0)


@pytest.mark.parametrize("learner", [PoolClassifier, TeacherFineTune])
def test_an_unknown_teacher_names_the_nearest(
    learner: type[PoolClassifier] | type[TeacherFineTune], pool: Path
) -> None:
    with pytest.raises(PurerError, match=r"got 'sixx'\. Did you mean 'six'\?"):
        learner(str(pool), "sixx").build(WAY, 3, 16, seed=0)


def test_several_teachers_are_not_fine_tuned_as_one(pool: Path) -> None:
    with pytest.raises(PurerError, match=r"Expected teacher to be 'best' or one of .* but got 'all'"):
        TeacherFineTune(str(pool), "all").build(WAY, 3, 16, seed=0)
