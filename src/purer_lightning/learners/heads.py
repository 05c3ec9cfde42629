"""What turns the features of a support set into a classifier of query features. No networks, no images.

Each head is two functions: ``fit`` makes a state, a dictionary of tensors, and ``logits`` uses it. Settings may be
tensors, so that they can be learnt. All but ``Logistic`` can be differentiated to any order, under ``torch.func`` too.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from purer_lightning.errors import PurerError
from purer_lightning.nets.functional import Weights
from purer_lightning.plugs import Registry, subclass_of

HeadName = str
"""Of one of ``HEADS``."""

NEWTON_STEPS = 200
GRADIENT_NORM = 1e-10


class Head(ABC):
    """A classifier of features, made from a few labelled ones.

    A head of your own is a subclass; name it by its path (``head: package.module.Class``), or offer it to others by an
    entry point of the group ``purer_lightning.heads``. Compute in operations that autograd can differentiate if a
    learner is to be trained through it.

    Attributes:
        regularised: whether a learner's ``regularisation`` means anything to it.
    """

    regularised: ClassVar[bool] = False

    @classmethod
    def of(cls, regularisation: float) -> Self:
        """Return the head for features of any size; by default the one without arguments."""
        del regularisation
        return cls()

    @abstractmethod
    def fit(self, features: Tensor, labels: Tensor, way: int) -> Weights:
        """Return the state.

        Args:
            features: of the support images, at least float32, (N, D).
            labels: int64 (N,), values 0 to way - 1, each at least once, in any order.
            way: number of classes.
        """

    @abstractmethod
    def logits(self, features: Tensor, state: Weights) -> Tensor:
        """Return logits (M, way) of query features (M, D)."""


@dataclass(frozen=True)
class CosineCentroid(Head):
    """Cosine similarity with the mean of each class, times a scale.

    Features are l2-normalised before and after the mean, as usual in the few-shot literature.

    Attributes:
        scale: of the logits; changes no accuracy, but the cross-entropy, so that training wants it above 1.
    """

    scale: float | Tensor = 1.0

    def fit(self, features: Tensor, labels: Tensor, way: int) -> Weights:
        """Return ``centroids``, (way, D), of length 1."""
        return {"centroids": F.normalize(class_means(F.normalize(features, dim=1), labels, way), dim=1)}

    def logits(self, features: Tensor, state: Weights) -> Tensor:
        """Return scale * cos(feature, centroid)."""
        return self.scale * (F.normalize(features, dim=1) @ state["centroids"].T)


@dataclass(frozen=True)
class EuclideanCentroid(Head):
    """Negative squared distance from the mean of each class (Snell et al. 2017)."""

    def fit(self, features: Tensor, labels: Tensor, way: int) -> Weights:
        """Return ``centroids``, (way, D)."""
        return {"centroids": class_means(features, labels, way)}

    def logits(self, features: Tensor, state: Weights) -> Tensor:
        """Return -||feature - centroid||^2; differences first, since expanding the square cancels digits."""
        return -(features.unsqueeze(1) - state["centroids"]).square().sum(dim=2)


@dataclass(frozen=True)
class Ridge(Head):
    """Ridge regression on one-hot targets in closed form (R2D2, Bertinetto et al. 2019), no intercept.

    W minimises ``||X W - Y||^2 + regularisation * ||W||^2``; the logits are ``scale * x W``. The paper also adds a
    learnt offset, one number for all classes. It is left out: softmax does not see it, so its gradient is rounding
    error, which Adam would turn into steps of full size.

    Attributes:
        regularisation: above 0.
        scale: of the logits.
        unit_length: l2-normalise features first, so that ``regularisation`` means the same whatever their size.
    """

    regularised = True

    regularisation: float | Tensor = 1.0
    scale: float | Tensor = 1.0
    unit_length: bool = False

    @classmethod
    def of(cls, regularisation: float) -> Self:
        """Return the regression on features of length 1."""
        return cls(regularisation, unit_length=True)

    def fit(self, features: Tensor, labels: Tensor, way: int) -> Weights:
        """Return ``weight``, (way, D)."""
        inputs, targets = self._prepared(features), one_hot(labels, way, features)
        shot, width = inputs.shape
        if width > shot:
            # Woodbury: N unknowns a class instead of D, the same solution.
            gram = inputs @ inputs.T + self.regularisation * torch.eye(shot).to(inputs)
            return {"weight": (inputs.T @ torch.linalg.solve(gram, targets)).T}
        gram = inputs.T @ inputs + self.regularisation * torch.eye(width).to(inputs)
        return {"weight": torch.linalg.solve(gram, inputs.T @ targets).T}

    def logits(self, features: Tensor, state: Weights) -> Tensor:
        """Return scale * the regression's prediction."""
        return self.scale * (self._prepared(features) @ state["weight"].T)

    def _prepared(self, features: Tensor) -> Tensor:
        return F.normalize(features, dim=1) if self.unit_length else features


@dataclass(frozen=True)
class Logistic(Head):
    """Multinomial logistic regression on l2-normalised features, without intercept.

    W minimises ``sum_i CE(W z_i, y_i) + regularisation / 2 * ||W||^2``, that of Tian et al. 2020 (with their C = 1)
    but for the intercept, which a support set of equally many images a class does not need. Strictly convex: there is
    one optimum, and ``fit`` finds it to a gradient norm of ``GRADIENT_NORM``. No gradient flows to the features.

    Attributes:
        regularisation: above 0.
    """

    regularised = True

    regularisation: float = 1.0

    @classmethod
    def of(cls, regularisation: float) -> Self:
        """Return the regression with this penalty."""
        return cls(regularisation)

    def fit(self, features: Tensor, labels: Tensor, way: int) -> Weights:
        """Return ``weight``, (way, D).

        Raises:
            PurerError: no optimum found: features that are not finite, or next to no regularisation.
        """
        # In float64 on the CPU: a few hundred numbers, and not every accelerator has float64.
        unit = F.normalize(features.detach().cpu().double(), dim=1)
        # The optimum lies in the span of the features: coordinates there, at most N of them, lose nothing.
        basis, coordinates = torch.linalg.qr(unit.T)
        weight = newton(coordinates.T, one_hot(labels.cpu(), way, unit), self.regularisation)
        return {"weight": (weight @ basis.T).to(features)}

    def logits(self, features: Tensor, state: Weights) -> Tensor:
        """Return W z."""
        return F.normalize(features, dim=1) @ state["weight"].T


def newton(inputs: Tensor, targets: Tensor, penalty: float) -> Tensor:
    """Minimise ``sum_i CE(W x_i, y_i) + penalty / 2 * ||W||^2`` from W = 0.

    Damped so that it converges from anywhere without a line search (Sun and Tran-Dinh 2019, generalised
    self-concordance of order 2): a step p is shortened by ``log(1 + d) / d``, ``d = M ||p||``. Here M = sqrt(2): the
    third derivative along V is a variance times a deviation of V x_i from its mean, at most ``sqrt(2) ||V||``.

    Args:
        inputs: float64 (N, D), rows of length 1 or less.
        targets: one-hot, float64 (N, way).
        penalty: above 0.

    Returns:
        W, (way, D), at which the gradient's norm is at most ``GRADIENT_NORM``.

    Raises:
        PurerError: it is not reached in ``NEWTON_STEPS``.
    """
    weight = inputs.new_zeros(targets.shape[1], inputs.shape[1])
    ridge = penalty * torch.eye(weight.numel()).to(weight)
    for _ in range(NEWTON_STEPS):
        probabilities = (inputs @ weight.T).softmax(dim=1)
        gradient = (probabilities - targets).T @ inputs + penalty * weight
        if gradient.norm() <= GRADIENT_NORM:
            return weight
        curvature = torch.diag_embed(probabilities) - probabilities.unsqueeze(2) * probabilities.unsqueeze(1)
        hessian = torch.einsum("nab,ni,nj->aibj", curvature, inputs, inputs).reshape_as(ridge) + ridge
        step = torch.linalg.solve(hessian, gradient.flatten()).view_as(weight)
        excess = math.sqrt(2) * step.norm()
        weight = weight - torch.log1p(excess) / excess * step
    raise PurerError(
        f"Expected the logistic head to converge in {NEWTON_STEPS} steps, but the gradient's norm is still "
        f"{gradient.norm():g}; raise the learner's regularisation above {penalty:g}, or look for features that are "
        "not finite."
    )


def class_means(features: Tensor, labels: Tensor, way: int) -> Tensor:
    """Return the mean of each class's features, (way, D)."""
    member = one_hot(labels, way, features)
    return member.T @ features / member.sum(dim=0).unsqueeze(1)


def one_hot(labels: Tensor, way: int, like: Tensor) -> Tensor:
    """Return (N, way) of the type of ``like``; by comparison, which torch.func can map over, unlike F.one_hot."""
    return (labels.unsqueeze(1) == torch.arange(way, device=labels.device)).to(like)


HEADS: Registry[type[Head]] = Registry(
    "heads",
    {"cosine": CosineCentroid, "euclidean": EuclideanCentroid, "ridge": Ridge, "logistic": Logistic},
    subclass_of(Head),  # type: ignore[type-abstract]  # mypy wants a class that can be made
)


def make_head(name: HeadName, regularisation: float) -> Head:
    """Return the head of that name for features of any size.

    Args:
        name: one of ``HEADS``.
        regularisation: for ridge and logistic.

    Raises:
        PurerError: unknown name, or a regularisation that is not above 0.
    """
    if not 0 < regularisation < math.inf:
        raise PurerError(
            f"Expected the learner's regularisation to be above 0 and finite, but got {regularisation}; change "
            "model.learner.init_args.regularisation."
        )
    return HEADS.find(name).of(regularisation)
