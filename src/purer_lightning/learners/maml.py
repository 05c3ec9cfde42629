"""MAML (Finn et al. 2017): the inner loop is gradient descent on the support set's cross-entropy."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from purer_lightning.learners.base import BatchNormMode, Learner
from purer_lightning.nets import functional as nets
from purer_lightning.nets.functional import Weights


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
    ) -> None:
        super().__init__(architecture, arguments, batchnorm)
        self.inner_steps = inner_steps
        self.test_inner_steps = inner_steps if test_inner_steps is None else test_inner_steps
        self.inner_lr = inner_lr
        self.second_order = not first_order

    def adapt(self, weights: Weights, support: Tensor, labels: Tensor, *, second_order: bool = False) -> Weights:
        """Take ``inner_steps`` (training) or ``test_inner_steps`` (else) steps of gradient descent."""
        buffers = {
            name: value for name, value in weights.items() if not value.is_floating_point() or "running_" in name
        }
        fast = {
            name: value if value.requires_grad else value.requires_grad_()
            for name, value in weights.items()
            if name not in buffers
        }
        for _ in range(self.inner_steps if self.training else self.test_inner_steps):
            loss = F.cross_entropy(nets.logits(self.caller(weights), fast | buffers, support), labels)
            gradients = torch.autograd.grad(loss, tuple(fast.values()), create_graph=second_order)
            fast = {
                name: value - self.inner_lr * gradient
                for (name, value), gradient in zip(fast.items(), gradients, strict=True)
            }
        return self.with_support_statistics(fast | buffers, support)

    def describe(self) -> dict[str, Any]:
        """What a checkpoint or a result says about this learner, in plain types."""
        return super().describe() | {
            "inner_steps": self.inner_steps,
            "test_inner_steps": self.test_inner_steps,
            "inner_lr": self.inner_lr,
            "second_order": self.second_order,
        }
