"""One meta-update of PURER spelt out: the reference that the benchmark times the package against.

Sequential and without tricks: resident teachers one after the other, plain autograd, BatchNorm statistics by hooks and
``torch.var_mean``, contiguous memory. Each teacher's graph is differentiated and freed before the next one's is made:
leaner than one graph over all of them, and no slower. The meta-model is a Conv4 as a list of parameters.
Equations: PURER (Hu et al. 2023); the priors' weights, the roll and Adam's rates are those of its released code.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from purer_lightning.episode import EpisodePlan, labels_in_order

TOTAL_VARIATION, L2, FEATURE = 1e-4, 1e-5, 0.01  # weights of the priors
IMAGE_LR, META_LR, INNER_LR = 0.25, 1e-3, 0.01


class PlainTeacher:
    """A frozen teacher whose BatchNorm layers note the statistics of their input.

    Args:
        network: in evaluation mode; hooks are put on it for good.
        classes: int64, (outputs,): the row of the bank for which each output stands.
    """

    def __init__(self, network: nn.Module, classes: Tensor) -> None:
        self.network, self.classes = network, classes
        self.layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        self.found: list[tuple[Tensor, Tensor]] = []
        for layer in self.layers:
            layer.register_forward_pre_hook(self._note)

    def _note(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.found.append(torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0))

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return ``L_EI = CE + 1e-4 R_TV + 1e-5 ||x||_2 + 0.01 R_feature`` of images (N, C, H, W)."""
        self.found.clear()
        class_term = F.cross_entropy(self.network(images), labels)
        feature = images.new_zeros(())
        for layer, (variance, mean) in zip(self.layers, self.found, strict=True):
            assert layer.running_mean is not None and layer.running_var is not None
            feature = feature + (mean - layer.running_mean).norm() + (variance - layer.running_var).norm()
        l2: Tensor = images.norm()
        return class_term + TOTAL_VARIATION * total_variation(images) + L2 * l2 + FEATURE * feature


def total_variation(images: Tensor) -> Tensor:
    """Return the sum of the l2 norms of four differences between neighbours, each over the whole batch."""
    horizontal = images[:, :, :, 1:] - images[:, :, :, :-1]
    vertical = images[:, :, 1:, :] - images[:, :, :-1, :]
    falling = images[:, :, 1:, 1:] - images[:, :, :-1, :-1]
    rising = images[:, :, 1:, :-1] - images[:, :, :-1, 1:]
    variation: Tensor = horizontal.norm() + vertical.norm() + falling.norm() + rising.norm()
    return variation


def conv4(parameters: Sequence[Tensor], images: Tensor) -> Tensor:
    """Return logits (N, way) of a Conv4 whose BatchNorm uses the batch's own statistics.

    Args:
        parameters: convolution weight and bias, BatchNorm scale and shift of four blocks; weight and bias of the head.
        images: (N, C, H, W).
    """
    for block in range(4):
        weight, bias, scale, shift = parameters[4 * block : 4 * block + 4]
        images = F.conv2d(images, weight, bias, padding=1)
        images = F.batch_norm(images, None, None, scale, shift, training=True)
        images = F.max_pool2d(F.relu(images), 2)
    return F.linear(images.flatten(1), parameters[16], parameters[17])


class PlainUpdate:
    """Algorithm 1 with one inner step.

    Args:
        teachers: every one weighs the same.
        bank: a leaf that requires gradients, (classes, images_per_class, C, H, W).
        theta: the meta-model's parameters as ``conv4`` wants them, leaves that require gradients.
    """

    def __init__(self, teachers: Sequence[PlainTeacher], bank: Tensor, theta: list[Tensor]) -> None:
        self.teachers, self.bank, self.theta = teachers, bank, theta
        self.image_adam = torch.optim.Adam([bank], lr=IMAGE_LR)
        self.meta_adam = torch.optim.Adam(theta, lr=META_LR)

    def inversion_gradient(self, jitter: tuple[int, int]) -> Tensor:
        """Return the gradient of ``sum_m L_EI(D_m)``, of the bank's shape; jitter is the roll (down, right)."""
        gradient = torch.zeros_like(self.bank)
        for teacher in self.teachers:
            images = torch.roll(self.bank[teacher.classes].flatten(0, 1), jitter, dims=(2, 3))
            labels = labels_in_order(len(teacher.classes), self.bank.shape[1]).to(self.bank.device)
            gradient += torch.autograd.grad(teacher.loss(images, labels), self.bank)[0]
        return gradient

    def outer_loss(self, bank: Tensor, plan: EpisodePlan) -> Tensor:
        """Return the query loss after one inner step, summed over the plan's episodes of the bank's images."""
        way, per_class = plan.slots.shape[1:]
        support_labels = labels_in_order(way, plan.shot).to(bank.device)
        query_labels = labels_in_order(way, per_class - plan.shot).to(bank.device)
        loss = bank.new_zeros(())
        for classes, slots in zip(plan.classes, plan.slots, strict=True):
            images = bank[classes[:, None], slots]
            support, query = images[:, : plan.shot].flatten(0, 1), images[:, plan.shot :].flatten(0, 1)
            inner_loss = F.cross_entropy(conv4(self.theta, support), support_labels)
            gradients = torch.autograd.grad(inner_loss, self.theta, create_graph=True)
            fast = [weight - INNER_LR * g for weight, g in zip(self.theta, gradients, strict=True)]
            loss = loss + F.cross_entropy(conv4(fast, query), query_labels)
        return loss

    def adversarial_gradient(self, plan: EpisodePlan) -> Tensor:
        """Return the gradient of the outer loss with respect to the bank, through support and query."""
        return torch.autograd.grad(self.outer_loss(self.bank, plan), self.bank)[0]

    def meta_gradient(self, plan: EpisodePlan) -> tuple[Tensor, ...]:
        """Return the second-order gradient of the outer loss with respect to theta."""
        return torch.autograd.grad(self.outer_loss(self.bank.detach(), plan), self.theta)

    def data_step(self, jitter: tuple[int, int], weight: float = 0.0, adversarial: EpisodePlan | None = None) -> None:
        """Move all images by one step of Adam; ``weight`` is lambda * I."""
        gradient = self.inversion_gradient(jitter)
        if adversarial is not None and weight > 0:
            gradient -= weight * self.adversarial_gradient(adversarial)
        self.bank.grad = gradient
        self.image_adam.step()

    def theta_step(self, meta_batch: EpisodePlan) -> None:
        """Move theta by one step of Adam."""
        for parameter, gradient in zip(self.theta, self.meta_gradient(meta_batch), strict=True):
            parameter.grad = gradient
        self.meta_adam.step()
