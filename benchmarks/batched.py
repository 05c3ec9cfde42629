"""The meta-update with all teachers of one architecture, and all episodes, in one batch: for devices of many cores.

On a CPU a batch over weights is a grouped convolution, and slower than one teacher after the other (README). On a GPU
the thousands of small launches of a loop may cost more than the arithmetic; ``gpu.sh`` measures it. Conv4 alone. Not
part of the package until it has been measured.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad, grad_and_value, vmap
from torch.nn import functional as F

from plain import FEATURE, INNER_LR, L2, TOTAL_VARIATION, conv4, total_variation
from purer_lightning.episode import EpisodePlan


class Stack(NamedTuple):
    """Teachers with equally many classes, side by side.

    Attributes:
        parameters: as ``plain.conv4`` wants them, each with the teachers in front.
        statistics: of the four BatchNorm layers: mean and variance, each (teachers, channels).
        classes: int64, (teachers, classes): rows of the bank.
    """

    parameters: list[Tensor]
    statistics: list[tuple[Tensor, Tensor]]
    classes: Tensor


def stacks(networks: Sequence[nn.Module], classes: Sequence[Tensor]) -> list[Stack]:
    """Return the teachers in groups that fit into a batch."""
    groups: dict[int, list[int]] = {}
    for number, own in enumerate(classes):
        groups.setdefault(len(own), []).append(number)
    return [_stacked([networks[i] for i in group], [classes[i] for i in group]) for group in groups.values()]


def _stacked(networks: Sequence[nn.Module], classes: Sequence[Tensor]) -> Stack:
    parameters = [torch.stack(each) for each in zip(*(list(net.parameters()) for net in networks), strict=True)]
    norms = [[layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)] for net in networks]
    statistics = [
        tuple(torch.stack([getattr(layer, name) for layer in layers]) for name in ("running_mean", "running_var"))
        for layers in zip(*norms, strict=True)
    ]
    return Stack(parameters, statistics, torch.stack(list(classes)))  # type: ignore[arg-type]


def inversion_loss(
    parameters: list[Tensor], statistics: list[tuple[Tensor, Tensor]], images: Tensor, labels: Tensor
) -> Tensor:
    """Return L_EI of one Conv4 teacher as ``plain.PlainTeacher.loss`` does, for ``vmap``."""
    x, feature = images, images.new_zeros(())
    for block, (mean, variance) in enumerate(statistics):
        weight, bias, scale, shift = parameters[4 * block : 4 * block + 4]
        x = F.conv2d(x, weight, bias, padding=1)
        found_variance, found_mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        feature = feature + (found_mean - mean).norm() + (found_variance - variance).norm()
        factor = scale * (variance + 1e-5).rsqrt()
        x = x * factor[:, None, None] + (shift - mean * factor)[:, None, None]
        x = F.max_pool2d(F.relu(x), 2)
    class_term = F.cross_entropy(F.linear(x.flatten(1), parameters[16], parameters[17]), labels)
    loss: Tensor = class_term + TOTAL_VARIATION * total_variation(images) + L2 * images.norm() + FEATURE * feature
    return loss


def inversion_gradient(groups: Sequence[Stack], bank: Tensor, jitter: tuple[int, int]) -> Tensor:
    """Return the gradient of the sum over teachers, of the bank's shape (classes, images, C, H, W)."""
    rolled, gradient = bank.detach().roll(jitter, dims=(-2, -1)), torch.zeros_like(bank)
    for stack in groups:
        teachers, ways = stack.classes.shape
        images = rolled[stack.classes].flatten(1, 2)
        labels = torch.arange(ways, device=bank.device).repeat_interleave(bank.shape[1])
        found = vmap(grad(inversion_loss, argnums=2), in_dims=(0, 0, 0, None))(
            stack.parameters, stack.statistics, images, labels
        )
        gradient.index_add_(0, stack.classes.flatten(), found.view(teachers * ways, *bank.shape[1:]))
    return gradient.roll((-jitter[0], -jitter[1]), dims=(-2, -1))


def outer_loss(theta: list[Tensor], support: Tensor, query: Tensor) -> Tensor:
    """Return the query loss of one episode after one inner step; rows are ordered by label."""
    way = theta[17].shape[0]
    labels = [torch.arange(way, device=each.device).repeat_interleave(len(each) // way) for each in (support, query)]
    inner = grad(lambda weights: F.cross_entropy(conv4(weights, support), labels[0]))(theta)
    fast = [weight - INNER_LR * g for weight, g in zip(theta, inner, strict=True)]
    return F.cross_entropy(conv4(fast, query), labels[1])


def episodes_of(bank: Tensor, plan: EpisodePlan) -> tuple[Tensor, Tensor]:
    """Return all support sets (episodes, way * shot, C, H, W) and all query sets."""
    images = bank[plan.classes[..., None].to(bank.device), plan.slots.to(bank.device)]
    return images[:, :, : plan.shot].flatten(1, 2), images[:, :, plan.shot :].flatten(1, 2)


def meta_gradient(theta: list[Tensor], bank: Tensor, plan: EpisodePlan) -> list[Tensor]:
    """Return the second-order gradient of the outer loss, summed over the episodes, all of them at once."""
    support, query = episodes_of(bank.detach(), plan)
    each, _ = vmap(grad_and_value(outer_loss), in_dims=(None, 0, 0))([t.detach() for t in theta], support, query)
    return [found.sum(dim=0) for found in each]
