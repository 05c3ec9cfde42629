"""BatchNorm that normalises by given statistics, also by those that depend on what is learnt."""

from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d``, but one that tracks no statistics normalises by those that a call lends it, if any.

    Those of a support set normalise the query images. They depend on the fast weights and on the support images, so
    the result is differentiable with respect to them; PyTorch's kernel takes them for constants.
    """

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.BatchNorm2d gave it
        """Normalise (N, C, H, W) by its own statistics, or by those in the buffers."""
        mean, variance = self.running_mean, self.running_var
        if mean is None or variance is None or (self.training and self.track_running_stats):
            return super().forward(input)
        if not mean.requires_grad:
            return F.batch_norm(input, mean, variance, self.weight, self.bias, eps=self.eps)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return input * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)
