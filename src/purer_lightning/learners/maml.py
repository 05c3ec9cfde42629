"""MAML (Finn et al. 2017) and its kin: the inner loop is gradient descent on the support set's cross-entropy."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from purer_lightning.errors import PurerError
from purer_lightning.learners.base import BatchNormMode, Learner
from purer_lightning.learners.heads import class_means
from purer_lightning.nets.functional import Weights

HEAD = ("head.weight", "head.bias")  # every network's


class Maml(Learner):
    """Model-agnostic meta-learning.

    Args:
        architecture: a name of the registry in ``purer_lightning.nets``.
        arguments: further arguments of the architecture, for example ``{"width": 64}``.
        inner_steps: gradient steps in training; 1 in PURER's released scripts, 5 by its code's default.
        test_inner_steps: gradient steps in validation and test; 1 in PURER's released scripts, 10 by its code's
            default. None takes ``inner_steps``.
        inner_lr: step size; 0.01 in the released code.
        first_order: leave the inner gradients' own derivatives out of the meta-gradient.
        batchnorm: whose statistics normalise the query images; the released code is transductive.
        outputs: of the network's linear head, where they are other classes than a task's, as after joint training.
            Each task then starts from a new head of ``way`` outputs, all zero. None: ``way``, and tasks start from
            the network's own head; from ``prototype_head`` where they have another number of classes.
        adapted: "all" weights, or the linear "head" alone (ANIL, Raghu et al. 2020).

    Raises:
        PurerError: a number of steps or a step size below 0.
    """

    def __init__(
        self,
        architecture: str = "conv4",
        arguments: dict[str, int] | None = None,
        inner_steps: int = 1,
        test_inner_steps: int | None = None,
        inner_lr: float = 0.01,
        first_order: bool = False,
        batchnorm: BatchNormMode = "transductive",
        outputs: int | None = None,
        adapted: Literal["all", "head"] = "all",
    ) -> None:
        super().__init__(architecture, arguments, batchnorm, outputs)
        self.inner_steps = inner_steps
        self.test_inner_steps = inner_steps if test_inner_steps is None else test_inner_steps
        if min(inner_steps, self.test_inner_steps) < 0 or not inner_lr >= 0:
            raise PurerError(
                "Expected the inner loop's inner_steps, test_inner_steps and inner_lr to be 0 or more, but got "
                f"{inner_steps}, {self.test_inner_steps} and {inner_lr}; change model.learner.init_args."
            )
        self.inner_lr = inner_lr
        self.first_order = first_order
        self.second_order = not first_order
        self.adapted = adapted

    def adapt(self, weights: Weights, support: Tensor, labels: Tensor, *, second_order: bool = False) -> Weights:
        """Take ``inner_steps`` (training) or ``test_inner_steps`` (else) steps of gradient descent."""
        weights = self.start(weights, support, labels)
        fast = {
            name: value if value.requires_grad else value.requires_grad_()
            for name, value in weights.items()
            if self.adapts(name, value)
        }
        held = {name: value for name, value in weights.items() if name not in fast}
        # Where only the head is adapted, its input stays the same.
        features = self.features(weights, support) if self.adapted == "head" else None
        for _ in range(self.inner_steps if self.training else self.test_inner_steps):
            if features is None:
                logits = self.run(fast | held, support).logits
            else:
                logits = F.linear(features, *(fast[name] for name in HEAD))
            loss = F.cross_entropy(logits, labels)
            gradients = torch.autograd.grad(loss, tuple(fast.values()), create_graph=second_order)
            fast = {
                name: value - self.inner_lr * gradient
                for (name, value), gradient in zip(fast.items(), gradients, strict=True)
            }
        return self.with_support_statistics(fast | held, support)

    def start(self, weights: Weights, support: Tensor, labels: Tensor) -> Weights:
        """Return ``weights`` with a new head for the task where the network's own is for other classes, or as many.

        Args:
            weights: the meta-model's.
            support: the task's, as in ``adapt``.
            labels: the task's.
        """
        weight, bias = (weights[name] for name in HEAD)
        if self.outputs is not None:
            new = (weight.new_zeros(self.way, weight.shape[1]), bias.new_zeros(self.way))
        elif len(bias) != self.way:
            new = prototype_head(self.features(weights, support), labels, self.way)
        else:
            return weights
        return weights | dict(zip(HEAD, new, strict=True))

    def adapts(self, name: str, value: Tensor) -> bool:
        """Whether the inner loop moves this weight; never BatchNorm's buffers."""
        if self.adapted == "head":
            return name in HEAD
        return value.is_floating_point() and "running_" not in name

    def describe(self) -> dict[str, Any]:
        """Describe this learner for checkpoints and results, in plain types."""
        return super().describe() | {
            "inner_steps": self.inner_steps,
            "test_inner_steps": self.test_inner_steps,
            "inner_lr": self.inner_lr,
            "second_order": self.second_order,
            "adapted": self.adapted,
        }


def prototype_head(features: Tensor, labels: Tensor, way: int) -> tuple[Tensor, Tensor]:
    """Return weight (way, D) and bias (way,) of the linear head that is nearest centroid (Proto-MAML).

    Triantafillou et al. (2020): w = 2 c and b = -||c||^2, so that logits rank classes by ||x - c||^2. Here both are
    divided by the mean ||c||^2: with logits of some hundreds the softmax would leave the inner loop no gradient. For
    more classes than were trained for it is the best start that was measured, by far; for fewer, the trained head's
    rows were three points above it, within the intervals: experiments/adaptation.md.

    Args:
        features: of the support images, (N, D).
        labels: int64 (N,), 0 to way - 1, each at least once.
        way: number of classes.
    """
    centroids = class_means(features, labels, way)
    squared = centroids.square().sum(dim=1)
    return 2 * centroids / squared.mean(), -squared / squared.mean()
