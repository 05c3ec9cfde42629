"""The parts of a meta-update, made by the package and by the plain reference, and how far their gradients differ."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from problem import LAMBDA, Problem
from purer_lightning.inversion.gradient import draw_jitter, inversion_gradient
from purer_lightning.training.gradient import adversarial_gradient, meta_gradient

SAME = 1e-5  # relative; what float32 leaves of an image's gradient unless a kink is decided otherwise


class Part(NamedTuple):
    """A part of the meta-update, made by either path; ``gradients`` returns both paths' where they are compared."""

    name: str
    plain: Callable[[], object]
    product: Callable[[], object]
    gradients: Callable[[], tuple[Tensor, Tensor]] | None = None


def parts_of(problem: Problem) -> list[Part]:
    """Return what is timed on an attached problem. The product's side calls what training calls."""
    module, plain = problem.module, problem.plain
    plan, jitter = problem.data.plan(0), draw_jitter(module.seed, 0)

    def product_inversion_gradient() -> Tensor:
        gradient, bank = module.backend.fast(inversion_gradient), module.synthesis.bank
        return gradient(module.pool.teachers, bank.images, jitter, module.priors, backend=module.backend)[1]

    def product_adversarial_gradient() -> Tensor:
        return adversarial_gradient(module.objective, module.learner, module.synthesis.bank, plan.adversarial)

    def product_meta_gradient() -> Tensor:
        return meta_gradient(module.objective, module.learner, module.synthesis.bank, plan.meta_batch).gradient

    def plain_update(weight: float) -> None:
        plain.data_step(jitter, weight, plan.adversarial)
        plain.theta_step(plan.meta_batch)

    def product_update(*, fired: bool) -> None:
        module.switch.on = fired
        module.training_step(plan, 0)

    return [
        Part(
            "inversion step",
            lambda: plain.data_step(jitter),
            lambda: module.data_step(0),
            lambda: (plain.inversion_gradient(jitter), product_inversion_gradient()),
        ),
        Part(
            "adversarial term",
            lambda: plain.adversarial_gradient(plan.adversarial),
            product_adversarial_gradient,
            lambda: (plain.adversarial_gradient(plan.adversarial), product_adversarial_gradient()),
        ),
        Part(
            "meta-step",
            lambda: plain.theta_step(plan.meta_batch),
            lambda: module.theta_step(product_meta_gradient()),
            lambda: (flat(plain.meta_gradient(plan.meta_batch)), product_meta_gradient()),
        ),
        Part("update, switch off", lambda: plain_update(0.0), lambda: product_update(fired=False)),
        Part("update, switch on", lambda: plain_update(LAMBDA), lambda: product_update(fired=True)),
    ]


def flat(tensors: tuple[Tensor, ...]) -> Tensor:
    """Return all values in one row."""
    return torch.cat([tensor.flatten() for tensor in tensors])


class Difference(NamedTuple):
    """How far the product's gradient is from the plain one's.

    Attributes:
        whole: ``||product - plain|| / ||plain||``.
        images: how many images' own gradients differ by more than ``SAME``; None for the meta-gradient.
    """

    whole: float
    images: int | None


def compare(plain: Tensor, product: Tensor) -> Difference:
    """Compare two gradients: either of the bank's shape or one row."""
    whole = relative_difference(plain.flatten(), product.flatten()).item()
    if plain.ndim == 1:
        return Difference(whole, None)
    each = relative_difference(plain.flatten(2), product.flatten(2))
    return Difference(whole, int((each > SAME).sum()))


def relative_difference(plain: Tensor, product: Tensor) -> Tensor:
    """Return ``||product - plain|| / ||plain||`` along the last dimension; 0 where both are 0."""
    difference = (product - plain).norm(dim=-1)
    return torch.where(difference == 0, 0.0, difference / plain.norm(dim=-1))


def compare_gradients(problem: Problem) -> dict[str, Difference]:
    """Compare each part's gradients at the problem's start."""
    problem.restore()
    return {part.name: compare(*part.gradients()) for part in parts_of(problem) if part.gradients}
