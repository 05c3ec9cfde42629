"""Narrow 1x1 convolutions of stride 2 compute what PyTorch does, and do not abort where there is no AVX-512."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from purer_lightning.nets.convolution import Conv2d

ON_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
# Without this class, 200 of these gradients write outside their buffers until the process aborts.
GRADIENTS = """
import torch
from purer_lightning.nets import NetworkSpec
for channels in range(3, 8):
    network = NetworkSpec("resnet10", 3, 3, 16, {"width": channels}).build(running_statistics=True)
    network.to(memory_format=torch.channels_last)
    images = torch.randn(16, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    for _ in range(20):
        network(images).square().sum().backward()
"""


@pytest.mark.parametrize("channels", range(2, 9))
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_pytorch(channels: int, layout: torch.memory_format) -> None:
    rng = torch.Generator().manual_seed(0)
    given = torch.randn(4, channels, 9, 9, generator=rng, dtype=torch.float64)
    weight = torch.randn(8, channels, 1, 1, generator=rng, dtype=torch.float64)
    found = []
    for kind, memory in ((nn.Conv2d, torch.contiguous_format), (Conv2d, layout)):
        convolution = kind(channels, 8, 1, stride=2, bias=False).double()
        convolution.load_state_dict({"weight": weight})
        convolution.to(memory_format=memory)  # type: ignore[call-overload]
        images = given.clone(memory_format=memory).requires_grad_()
        values = convolution(images)
        found.append((values, *torch.autograd.grad(values.square().sum(), [images, convolution.weight])))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)


def test_training_a_narrow_resnet_does_not_end_the_process_without_avx_512() -> None:
    run = subprocess.run([sys.executable, "-c", GRADIENTS], env=os.environ | ON_AVX2, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
