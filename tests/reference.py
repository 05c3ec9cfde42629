"""The paper's arithmetic a second time, spelt out: lists of tensors, float64, no code of the package beneath it.

Written from the equations alone, so that it can disagree with the package. Conv4 only. Networks are lists of their
parameters in the order of ``PARAMETERS``. ``Moments`` are the mean and biased variance of one BatchNorm layer's input,
each (channels,).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from purer_lightning.episode import EpisodePlan
from purer_lightning.nets import NetworkSpec

Moments = tuple[Tensor, Tensor]

PARAMETERS = (
    *(f"blocks.{block}.{layer}.{kind}" for block in range(4) for layer in (0, 1) for kind in ("weight", "bias")),
    "head.weight",
    "head.bias",
)


class PlainTeacher(NamedTuple):
    """A teacher as tensors: ``classes[k]`` is the row of the bank for which output k stands."""

    parameters: list[Tensor]
    remembered: list[Moments]
    classes: list[int]


class PlainEpisode(NamedTuple):
    """Support and query as (images, labels)."""

    support: tuple[Tensor, Tensor]
    query: tuple[Tensor, Tensor]


class Inner(NamedTuple):
    """The inner loop's settings."""

    lr: float
    steps: int
    second_order: bool = True


def make_network(seed: int, classes: int, *, remembers: bool, size: int = 16, width: int = 4) -> nn.Module:
    """Return a float64 Conv4 in evaluation mode whose every parameter and buffer is far from its default."""
    spec = NetworkSpec("conv4", classes=classes, channels=3, image_size=size, arguments={"width": width})
    network = spec.build(running_statistics=remembers).double().eval()
    rng = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            centred = 0.3 * torch.randn(value.shape, generator=rng, dtype=value.dtype)
            value.copy_(centred.abs() + 0.5 if name.endswith(("1.weight", "running_var")) else centred)
    return network


def parameters_of(network: nn.Module) -> list[Tensor]:
    """Return copies of a Conv4's parameters in the order of ``PARAMETERS``, as leaves that require gradients."""
    found = dict(network.named_parameters())
    assert set(found) == set(PARAMETERS)
    return [found[name].detach().double().clone().requires_grad_() for name in PARAMETERS]


def remembered_by(network: nn.Module) -> list[Moments]:
    """Return what the four BatchNorm layers of a teacher remember."""
    state = network.state_dict()
    names = [f"blocks.{block}.1.running_" for block in range(4)]
    return [(state[name + "mean"].double().clone(), state[name + "var"].double().clone()) for name in names]


def plain_teacher(network: nn.Module, classes: Sequence[int]) -> PlainTeacher:
    """Return a teacher as tensors."""
    return PlainTeacher(parameters_of(network), remembered_by(network), list(classes))


def moments(values: Tensor) -> Moments:
    """Return the mean and biased variance over images and positions of (N, C, H, W)."""
    count = values.shape[0] * values.shape[2] * values.shape[3]
    mean = values.sum(dim=(0, 2, 3)) / count
    return mean, ((values - mean.view(1, -1, 1, 1)) ** 2).sum(dim=(0, 2, 3)) / count


def conv4_features(
    parameters: list[Tensor], images: Tensor, fixed: list[Moments] | None = None
) -> tuple[Tensor, list[Moments]]:
    """Return features (N, D) and every BatchNorm input's moments; normalise by ``fixed``, else by the batch's own."""
    seen = []
    for block in range(4):
        weight, bias, scale, shift = parameters[4 * block : 4 * block + 4]
        images = F.conv2d(images, weight, bias, padding=1)
        seen.append(moments(images))
        mean, variance = (part.view(1, -1, 1, 1) for part in (seen[block] if fixed is None else fixed[block]))
        images = (images - mean) / torch.sqrt(variance + 1e-5) * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
        images = F.max_pool2d(F.relu(images), 2)
    return images.flatten(1), seen


def conv4(parameters: list[Tensor], images: Tensor, fixed: list[Moments] | None = None) -> Tensor:
    """Return logits (N, classes)."""
    return F.linear(conv4_features(parameters, images, fixed)[0], parameters[16], parameters[17])


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over the batch of ``log sum exp(logits) - logit of the label``."""
    return torch.stack([row.exp().sum().log() - row[int(y)] for row, y in zip(logits, labels, strict=True)]).mean()


def norm(values: Tensor) -> Tensor:
    """Return the l2 norm of all values together."""
    return (values**2).sum().sqrt()


def total_variation(images: Tensor) -> Tensor:
    """Return the sum of four norms, over the whole batch, of differences between neighbouring pixels."""
    _, _, height, width = images.shape
    here, right = images[..., : width - 1], images[..., 1:]
    horizontal = right - here
    vertical = images[:, :, 1:, :] - images[:, :, : height - 1, :]
    falling = right[:, :, 1:, :] - here[:, :, : height - 1, :]
    rising = right[:, :, : height - 1, :] - here[:, :, 1:, :]
    return norm(horizontal) + norm(vertical) + norm(falling) + norm(rising)


def feature_distance(found: list[Moments], wanted: list[Moments]) -> Tensor:
    """Return R_feature: the distances of means and of variances, summed over layers."""
    return torch.stack([norm(a[0] - b[0]) + norm(a[1] - b[1]) for a, b in zip(found, wanted, strict=True)]).sum()


def inversion_loss(teacher: PlainTeacher, images: Tensor, labels: Tensor) -> Tensor:
    """Return L_EI of one teacher's batch with the weights of the released code."""
    logits = conv4(teacher.parameters, images, teacher.remembered)
    _, found = conv4_features(teacher.parameters, images, teacher.remembered)
    return (
        cross_entropy(logits, labels)
        + 1e-4 * total_variation(images)
        + 1e-5 * norm(images)
        + 0.01 * feature_distance(found, teacher.remembered)
    )


def rolled(images: Tensor, down: int, right: int) -> Tensor:
    """Return images moved down and to the right, cyclically: row i comes from row i - down."""
    height, width = images.shape[-2:]
    rows = [(i - down) % height for i in range(height)]
    columns = [(j - right) % width for j in range(width)]
    return images[..., rows, :][..., columns]


def teachers_loss(teachers: Sequence[PlainTeacher], bank: Tensor, offset: tuple[int, int]) -> Tensor:
    """Return the sum over teachers of L_EI on the bank's images of their classes; bank (classes, n, C, H, W)."""
    total = torch.zeros((), dtype=bank.dtype)
    for teacher in teachers:
        images = torch.cat([bank[position] for position in teacher.classes])
        labels = torch.tensor([output for output in range(len(teacher.classes)) for _ in range(bank.shape[1])])
        total = total + inversion_loss(teacher, rolled(images, *offset), labels)
    return total


def plain_episodes(plan: EpisodePlan, bank: Tensor) -> list[PlainEpisode]:
    """Gather a plan's episodes from the bank one image at a time."""
    episodes = []
    for classes, slots in zip(plan.classes.tolist(), plan.slots.tolist(), strict=True):
        halves = []
        for chosen in (slice(None, plan.shot), slice(plan.shot, None)):
            picked = [(bank[c, s], y) for y, c in enumerate(classes) for s in slots[y][chosen]]
            halves.append((torch.stack([image for image, _ in picked]), torch.tensor([y for _, y in picked])))
        episodes.append(PlainEpisode(*halves))
    return episodes


def inner_loop(theta: list[Tensor], support: tuple[Tensor, Tensor], inner: Inner) -> list[Tensor]:
    """Return theta after gradient descent on the support set's cross-entropy, BatchNorm on the batch itself."""
    fast = theta
    for _ in range(inner.steps):
        loss = cross_entropy(conv4(fast, support[0]), support[1])
        gradients = torch.autograd.grad(loss, fast, create_graph=True)
        if not inner.second_order:
            gradients = tuple(gradient.detach() for gradient in gradients)
        fast = [weight - inner.lr * gradient for weight, gradient in zip(fast, gradients, strict=True)]
    return fast


def outer_loss(theta: list[Tensor], episodes: Sequence[PlainEpisode], inner: Inner) -> Tensor:
    """Return the query cross-entropy of the adapted weights, summed over episodes."""
    losses = [cross_entropy(conv4(inner_loop(theta, e.support, inner), e.query[0]), e.query[1]) for e in episodes]
    return torch.stack(losses).sum()


class Adam:
    """Adam (Kingma and Ba 2015) on a list of tensors: decay rates 0.9 and 0.999, epsilon 1e-8."""

    def __init__(self, lr: float, values: Sequence[Tensor]) -> None:
        self.lr, self.steps = lr, 0
        self.first = [torch.zeros_like(value) for value in values]
        self.second = [torch.zeros_like(value) for value in values]

    def step(self, values: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        """Return the moved values as new leaves."""
        self.steps += 1
        self.first = [0.9 * m + 0.1 * g for m, g in zip(self.first, gradients, strict=True)]
        self.second = [0.999 * v + 0.001 * g * g for v, g in zip(self.second, gradients, strict=True)]
        moved = []
        for value, m, v in zip(values, self.first, self.second, strict=True):
            ratio = (m / (1 - 0.9**self.steps)) / ((v / (1 - 0.999**self.steps)).sqrt() + 1e-8)
            moved.append((value.detach() - self.lr * ratio).requires_grad_())
        return moved


class MetaUpdate:
    """Algorithm 1 on plain tensors: ``step`` is one meta-update."""

    def __init__(self, bank: Tensor, theta: list[Tensor], teachers: Sequence[PlainTeacher], inner: Inner) -> None:
        self.bank, self.theta, self.teachers, self.inner = bank, theta, teachers, inner
        self.image_adam, self.meta_adam = Adam(0.25, [bank]), Adam(1e-3, theta)

    def image_gradient(self, offset: tuple[int, int], weight: float, adversarial: EpisodePlan) -> Tensor:
        """Return the gradient of ``sum_m L_EI - weight * L_outer`` with respect to the bank; always second order."""
        loss = teachers_loss(self.teachers, self.bank, offset)
        if weight:
            exact = self.inner._replace(second_order=True)
            loss = loss - weight * outer_loss(self.theta, plain_episodes(adversarial, self.bank), exact)
        return torch.autograd.grad(loss, self.bank)[0]

    def step(self, offset: tuple[int, int], weight: float, adversarial: EpisodePlan, meta_batch: EpisodePlan) -> None:
        """Move the images, then theta by the meta-gradient on the moved images."""
        gradient = self.image_gradient(offset, weight, adversarial)
        (self.bank,) = self.image_adam.step([self.bank], [gradient])
        loss = outer_loss(self.theta, plain_episodes(meta_batch, self.bank), self.inner)
        self.theta = self.meta_adam.step(self.theta, torch.autograd.grad(loss, self.theta))
