"""Each head in float64 against a plain formula: loops, normal equations, and the gradient that an optimum lacks."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from purer_lightning.errors import PurerError
from purer_lightning.learners.heads import (
    CosineCentroid,
    EuclideanCentroid,
    Head,
    Logistic,
    Ridge,
    class_means,
    make_head,
    newton,
)

WAY = 3
LABELS = torch.tensor([2, 0, 1, 0, 2, 1, 1])  # in no order, and not the same number of each
WIDTHS = [2, 7, 12]  # fewer numbers than images, as many, more
HEADS: dict[str, Head] = {
    "cosine": CosineCentroid(3.0),
    "euclidean": EuclideanCentroid(),
    "ridge": Ridge(0.7, 3.0),
    "ridge, unit length": Ridge(0.7, unit_length=True),
    "logistic": Logistic(0.5),
}
DIFFERENTIABLE = [name for name in HEADS if name != "logistic"]


def drawn(count: int, width: int = 12, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(count, width, dtype=torch.float64, generator=rng) + 1


def support(width: int = 12) -> Tensor:
    return drawn(len(LABELS), width)


def logits(head: Head, features: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    return head.logits(queries, head.fit(features, labels, WAY))


def unit(rows: np.ndarray) -> np.ndarray:
    return np.stack([row / np.sqrt(sum(row * row)) for row in rows])


def means(rows: np.ndarray) -> np.ndarray:
    own = [[row for row, label in zip(rows, LABELS.tolist(), strict=True) if label == y] for y in range(WAY)]
    return np.stack([sum(some) / len(some) for some in own])


def cosine(features: np.ndarray, queries: np.ndarray) -> np.ndarray:
    centroids = unit(means(unit(features)))
    return np.array([[3 * sum(query * centroid) for centroid in centroids] for query in unit(queries)])


def euclidean(features: np.ndarray, queries: np.ndarray) -> np.ndarray:
    centroids = means(features)
    return np.array([[-sum((query - centroid) ** 2) for centroid in centroids] for query in queries])


def ridge(features: np.ndarray, queries: np.ndarray) -> np.ndarray:
    targets = np.eye(WAY)[LABELS.numpy()]
    weight = np.linalg.inv(features.T @ features + 0.7 * np.eye(features.shape[1])) @ features.T @ targets
    return np.asarray(queries @ weight)


PLAIN: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cosine": cosine,
    "euclidean": euclidean,
    "ridge": lambda features, queries: 3 * ridge(features, queries),
    "ridge, unit length": lambda features, queries: ridge(unit(features), unit(queries)),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PLAIN)
def test_logits_are_those_of_the_plain_formula(name: str, width: int) -> None:
    found = logits(HEADS[name], support(width), LABELS, drawn(4, width, seed=1))
    wanted = PLAIN[name](support(width).numpy(), drawn(4, width, seed=1).numpy())
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("penalty", [1e-6, 1e-2, 1.0, 100.0])
def test_the_logistic_head_is_the_optimum_of_its_convex_loss(penalty: float, width: int) -> None:
    weight = Logistic(penalty).fit(support(width), LABELS, WAY)["weight"].requires_grad_()
    assert weight.shape == (WAY, width)
    loss = penalty / 2 * (weight**2).sum()
    for row, label in zip(support(width), LABELS.tolist(), strict=True):
        scores = weight @ (row / (row**2).sum().sqrt())
        loss = loss + scores.exp().sum().log() - scores[label]
    (gradient,) = torch.autograd.grad(loss, weight)
    assert gradient.norm() < 1e-9


def test_the_logistic_heads_logits_are_linear_in_unit_features() -> None:
    head, queries = Logistic(), drawn(4, seed=1)
    state = head.fit(support(), LABELS, WAY)
    wanted = torch.stack([state["weight"] @ (query / (query**2).sum().sqrt()) for query in queries])
    torch.testing.assert_close(head.logits(queries, state), wanted, rtol=1e-12, atol=1e-12)


def test_a_logistic_fit_that_finds_no_optimum_says_so() -> None:
    with pytest.raises(PurerError, match="raise the learner's regularisation above 1, or look for features that are"):
        Logistic().fit(support() * torch.nan, LABELS, WAY)


def test_newton_starts_at_the_optimum_where_labels_say_nothing() -> None:
    inputs = torch.ones(WAY, 1, dtype=torch.float64)
    assert torch.equal(newton(inputs, torch.eye(WAY, dtype=torch.float64), 1.0), torch.zeros(WAY, 1).double())


@pytest.mark.parametrize("name", HEADS)
def test_the_order_of_the_support_set_does_not_matter(name: str) -> None:
    order = torch.tensor([3, 6, 0, 5, 1, 4, 2])
    found = logits(HEADS[name], support()[order], LABELS[order], drawn(4, seed=1))
    wanted = logits(HEADS[name], support(), LABELS, drawn(4, seed=1))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", HEADS)
def test_renaming_the_classes_permutes_the_logits(name: str) -> None:
    renamed = torch.tensor([1, 2, 0])
    found = logits(HEADS[name], support(), renamed[LABELS], drawn(4, seed=1))
    wanted = logits(HEADS[name], support(), LABELS, drawn(4, seed=1))
    torch.testing.assert_close(found[:, renamed], wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_of_features_are_those_of_finite_differences_to_second_order(name: str, width: int) -> None:
    features, queries = support(width).requires_grad_(), drawn(2, width, seed=1).requires_grad_()

    def of_features(features: Tensor, queries: Tensor) -> Tensor:
        return logits(HEADS[name], features, LABELS, queries)

    assert torch.autograd.gradcheck(of_features, (features, queries))
    assert torch.autograd.gradgradcheck(of_features, (features, queries))


@pytest.mark.parametrize("width", [2, 12])
def test_gradients_of_a_heads_settings_are_those_of_finite_differences(width: int) -> None:
    def of_settings(regularisation: Tensor, scale: Tensor) -> Tensor:
        return logits(Ridge(regularisation, scale), support(width), LABELS, drawn(2, width, seed=1))

    settings = tuple(torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.7, 3.0))
    assert torch.autograd.gradcheck(of_settings, settings)
    assert torch.autograd.gradcheck(
        lambda scale: logits(CosineCentroid(scale), support(), LABELS, drawn(2, seed=1)), settings[:1]
    )


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_torch_func_maps_over_tasks(name: str) -> None:
    tasks = torch.stack([support(), drawn(len(LABELS), seed=2)])
    labels, queries = torch.stack([LABELS, LABELS.flip(0)]), drawn(2, seed=1)

    def loss(features: Tensor, labels: Tensor) -> Tensor:
        return logits(HEADS[name], features, labels, queries).square().sum()

    found = torch.func.vmap(torch.func.grad(loss))(tasks, labels)
    wanted = [torch.func.grad(loss)(*task) for task in zip(tasks, labels, strict=True)]
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-9, atol=1e-9)


def test_a_class_without_images_has_no_mean_rather_than_a_wrong_one() -> None:
    assert class_means(support(), LABELS.clamp(max=1), WAY).isnan().any(dim=1).tolist() == [False, False, True]


@pytest.mark.parametrize("regularisation", [0.0, -1.0, float("nan"), float("inf")])
def test_a_regularisation_that_is_not_above_zero_is_refused(regularisation: float) -> None:
    with pytest.raises(PurerError, match=r"above 0 and finite, but got .*init_args\.regularisation"):
        make_head("ridge", regularisation)


def test_an_unknown_head_is_refused_with_the_known_ones() -> None:
    with pytest.raises(PurerError, match="heads cosine, euclidean, logistic, ridge, but got 'nearest'"):
        make_head("nearest", 1.0)
