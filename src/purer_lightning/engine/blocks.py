"""Blocks of convolution, BatchNorm, ReLU and 2x2 max-pooling that make fewer passes over memory on a CPU.

``FusedSkeletons`` have them in the place of a network's plain ones: same parameters, same names, same results but for
rounding. Where the kernels do not apply (another device or type, statistics that are learnt) a block computes what
``nn.Sequential`` does; the derivative of its derivative is that of ``nn.Sequential``, too.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from purer_lightning.engine import kernels
from purer_lightning.engine.derivatives import pooled_block
from purer_lightning.nets.skeletons import Part, Skeletons
from purer_lightning.nets.statistics import Statistics


class FusedSkeletons(Skeletons):
    """Skeletons in which each block that can be fused is a ``FusedBlock``."""

    def kind(self, module: nn.Module) -> type[nn.Module]:
        """Return ``FusedBlock`` for a block that it computes, else the module's own class."""
        return FusedBlock if type(module) is nn.Sequential and is_fusible(module) else type(module)

    def collect(self, part: Part, collected: Statistics) -> None:
        """Let fused blocks report, too: a hook on their BatchNorm would see nothing of its input."""
        super().collect(part, collected)
        if isinstance(part.copy, FusedBlock) and isinstance(part.copy[1], nn.BatchNorm2d):
            part.copy.report = partial(collected.__setitem__, f"{part.name}.{FusedBlock.NORM}")


def is_fusible(block: nn.Sequential) -> bool:
    """Whether this is 3x3 convolution of stride 1, BatchNorm (or where it was), ReLU, 2x2 max-pooling."""
    if len(block) != 4:
        return False
    convolution, norm, relu, pool = block
    return (
        isinstance(convolution, nn.Conv2d)
        and (convolution.kernel_size, convolution.stride, convolution.padding) == ((3, 3), (1, 1), (1, 1))
        and (convolution.dilation, convolution.groups, convolution.padding_mode) == ((1, 1), 1, "zeros")
        and (isinstance(norm, nn.Identity) or (isinstance(norm, nn.BatchNorm2d) and norm.affine))
        and isinstance(relu, nn.ReLU)
        and isinstance(pool, nn.MaxPool2d)
        and (pool.kernel_size, pool.stride, pool.padding, pool.dilation) == (2, 2, 0, 1)
        and not (pool.ceil_mode or pool.return_indices)
    )


class FusedBlock(nn.Sequential):
    """The block as ``nn.Sequential`` has it, image by image in the cache: block.cpp.

    Attributes:
        report: called with mean and biased variance of the BatchNorm layer's input; None where nobody asks.
    """

    NORM = 1  # the BatchNorm layer's place in the block
    report: Callable[[tuple[Tensor, Tensor]], None] | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, filters, H // 2, W // 2)."""
        convolution: Any = self[0]
        norm: Any = self[1]
        weight, bias = convolution.weight, convolution.bias
        if not is_for(images, weight) or learns_statistics(norm):
            return self._plain(images)
        scale, shift, eps, given = settings_of(norm, weight)
        asked = self.report is not None
        pooled, mean, variance = pooled_block(images, weight, bias, scale, shift, eps, given, report=asked)
        if given is None:
            assert mean is not None and variance is not None
            remember(norm, mean.detach(), variance.detach(), images.numel() // images.shape[1])
        if self.report:
            assert mean is not None and variance is not None
            self.report((mean, variance))
        return pooled

    def _plain(self, images: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self[1](self[0](images))), 2)


def is_for(images: Tensor, weight: Tensor) -> bool:
    """Whether the kernels work on these images, of the weights' type and channels; PyTorch refuses others itself."""
    fits = images.dim() == 4 and images.dtype == weight.dtype and images.shape[1] == weight.shape[1]
    return fits and kernels.applies(images)


def settings_of(norm: Any, weight: Tensor) -> tuple[Tensor, Tensor, float, tuple[Tensor, Tensor] | None]:
    """Return weight, bias, eps and given statistics of a BatchNorm layer; of ``nn.Identity`` those that do nothing."""
    if isinstance(norm, nn.Identity):
        one, zero = weight.new_ones(len(weight)), weight.new_zeros(len(weight))
        return one, zero, 0.0, (zero, one)
    given = None if by_batch(norm) else (norm.running_mean, norm.running_var)
    return norm.weight, norm.bias, norm.eps, given


def by_batch(norm: nn.BatchNorm2d) -> bool:
    """Whether a BatchNorm layer normalises by the batch's own statistics; the rule of ``nets.batchnorm``."""
    return norm.running_mean is None or (norm.training and norm.track_running_stats)


def learns_statistics(norm: nn.Module) -> bool:
    """Whether the given statistics depend on what is learnt, as those of a support set do."""
    given = isinstance(norm, nn.BatchNorm2d) and not by_batch(norm)
    return given and bool(norm.running_mean.requires_grad)


def remember(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Move the running statistics as ``nn.BatchNorm2d`` does in training, where it keeps any."""
    if not norm.training or norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance * (count / (count - 1)), share)
