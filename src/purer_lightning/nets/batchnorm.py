"""BatchNorm whose given statistics may depend on what is learnt."""

from torch import Tensor, nn


class BatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d``, but differentiable with respect to its running statistics.

    Needed where a support set's statistics normalise the query images: they depend on the fast weights, and on the
    support images, and PyTorch's kernel takes them for constants.
    """

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.BatchNorm2d gave it
        """Normalise (N, C, H, W) by its own statistics, or by those in the buffers."""
        mean, variance = self.running_mean, self.running_var
        if self.training or mean is None or variance is None or not mean.requires_grad:
            return super().forward(input)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return input * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)
