"""Every network of the registry: shapes, BatchNorm modes, errors, and where gradients arrive."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from purer_lightning.errors import PurerError
from purer_lightning.nets import ARCHITECTURES, FewShotNetwork, NetworkSpec

NARROW = {"width": 4}
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def build(architecture: str, running_statistics: bool = True, **fields: Any) -> nn.Module:
    torch.manual_seed(0)
    spec = NetworkSpec(architecture, **{"arguments": NARROW, "image_size": 16, **fields})
    return spec.build(running_statistics=running_statistics)


def pictures(count: int, channels: int = 3, size: int = 16) -> Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(0))


def features_of(network: nn.Module, images: Tensor) -> Tensor:
    return cast(FewShotNetwork, network).features(images)


def feature_count(architecture: str, width: int, size: int) -> int:
    """Conv4 flattens what four halvings leave; a ResNet averages it and has doubled its width three times."""
    return width * (size // 16) ** 2 if architecture == "conv4" else 8 * width


@pytest.mark.parametrize("running_statistics", [True, False], ids=["teacher", "meta-model"])
@pytest.mark.parametrize(("channels", "size", "width", "classes"), [(3, 32, 4, 5), (1, 28, 3, 2), (2, 84, 5, 7)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_images_become_features_and_logits_of_the_documented_shapes(
    architecture: str, channels: int, size: int, width: int, classes: int, running_statistics: bool
) -> None:
    network = build(
        architecture,
        running_statistics,
        classes=classes,
        channels=channels,
        image_size=size,
        arguments={"width": width},
    )
    images = pictures(3, channels, size)
    assert features_of(network, images).shape == (3, feature_count(architecture, width, size))
    assert network(images).shape == (3, classes)


@pytest.mark.parametrize("size", [16, 31, 33, 64, 65, 96])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_odd_and_even_image_sizes_fit_the_head(architecture: str, size: int) -> None:
    network = build(architecture, image_size=size)
    assert network(pictures(2, size=size)).shape == (2, 5)


@pytest.mark.parametrize(("architecture", "width"), [("conv4", 32), ("resnet10", 64), ("resnet18", 64)])
def test_default_widths_are_those_of_the_paper(architecture: str, width: int) -> None:
    network = build(architecture, image_size=32, arguments={})
    head = cast(FewShotNetwork, network).head
    assert head.in_features == feature_count(architecture, width, 32)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_teacher_and_meta_model_differ_in_batchnorm_buffers_alone(architecture: str) -> None:
    teacher, meta_model = build(architecture, True), build(architecture, False)
    parameters = {name: value.shape for name, value in teacher.named_parameters()}
    assert {name: value.shape for name, value in meta_model.named_parameters()} == parameters
    assert meta_model.state_dict().keys() == parameters.keys()
    normalisations = [name for name, module in teacher.named_modules() if isinstance(module, nn.BatchNorm2d)]
    buffers = {f"{name}.{buffer}" for name in normalisations for buffer in BUFFERS}
    assert buffers
    assert teacher.state_dict().keys() == parameters.keys() | buffers


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_are_the_head_applied_to_the_features(architecture: str) -> None:
    network = build(architecture).eval()
    images = pictures(3)
    assert torch.equal(network(images), cast(FewShotNetwork, network).head(features_of(network, images)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_teacher_judges_each_image_alone_and_a_meta_model_by_its_batch(architecture: str) -> None:
    teacher, meta_model = build(architecture, True).eval(), build(architecture, False, image_size=32)
    images = pictures(6)
    torch.testing.assert_close(teacher(images)[:2], teacher(images[:2]), atol=1e-6, rtol=1e-5)
    images = pictures(6, size=32)
    assert not torch.allclose(meta_model(images)[:2], meta_model(images[:2]), atol=1e-3)
    assert torch.equal(meta_model(images), meta_model.eval()(images)), "eval() does not change whose statistics count"


@pytest.mark.parametrize(("channels", "size", "width", "classes"), [(3, 32, 32, 5), (1, 28, 64, 20), (3, 84, 8, 2)])
def test_conv4_has_the_parameters_that_its_description_implies(
    channels: int, size: int, width: int, classes: int
) -> None:
    network = build("conv4", channels=channels, image_size=size, classes=classes, arguments={"width": width})
    first = 9 * channels * width + width
    others = 3 * (9 * width * width + width)
    scales_and_shifts = 4 * 2 * width
    head = width * (size // 16) ** 2 * classes + classes
    assert sum(p.numel() for p in network.parameters()) == first + others + scales_and_shifts + head


def test_conv4_of_the_paper_has_29541_parameters() -> None:
    """896 + 3 * 9,248 for the convolutions, 256 for BatchNorm, 645 for the head: 32 filters, CIFAR-FS, 5-way."""
    network = build("conv4", image_size=32, arguments={})
    assert sum(p.numel() for p in network.parameters()) == 896 + 3 * 9248 + 256 + 645 == 29541


@pytest.mark.parametrize(("architecture", "convolutions"), [("conv4", 4), ("resnet10", 9), ("resnet18", 17)])
def test_a_network_is_as_deep_as_its_name_says(architecture: str, convolutions: int) -> None:
    """The name counts convolutions of more than one pixel, and for the ResNets the linear head."""
    kernels = [m.kernel_size for m in build(architecture).modules() if isinstance(m, nn.Conv2d)]
    assert sum(kernel != (1, 1) for kernel in kernels) == convolutions


@pytest.mark.parametrize(("size", "kernel", "stride"), [(64, (3, 3), (1, 1)), (65, (7, 7), (2, 2))])
@pytest.mark.parametrize("architecture", ["resnet10", "resnet18"])
def test_a_resnet_halves_only_large_images_at_its_entrance(
    architecture: str, size: int, kernel: tuple[int, int], stride: tuple[int, int]
) -> None:
    network = build(architecture, image_size=size)
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    poolings = [module for module in network.modules() if isinstance(module, nn.MaxPool2d)]
    assert (first.kernel_size, first.stride) == (kernel, stride)
    assert len(poolings) == (size > 64)


@pytest.mark.parametrize("running_statistics", [True, False], ids=["teacher", "meta-model"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_reach_the_first_convolution_and_the_images(architecture: str, running_statistics: bool) -> None:
    network = build(architecture, running_statistics, image_size=32)
    if running_statistics:
        network.eval()  # a frozen teacher, as inversion uses it
    images = pictures(10, size=32).requires_grad_()
    loss = F.cross_entropy(network(images), torch.arange(5).repeat(2))
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d)).weight
    at_first, at_images = torch.autograd.grad(loss, (first, images))
    assert bool(at_first.isfinite().all()) and float(at_first.norm()) > 1e-4
    assert bool(at_images.isfinite().all()) and bool((at_images.flatten(1).norm(dim=1) > 0).all())


@pytest.mark.parametrize(("wrong", "meant"), [("conv5", "conv4"), ("resnet-18", "resnet18"), ("ResNet10", "resnet10")])
def test_an_unknown_architecture_is_answered_with_the_nearest(wrong: str, meant: str) -> None:
    with pytest.raises(PurerError, match=f"got '{wrong}'.*Did you mean '{meant}'"):
        build(wrong)


def test_an_architecture_that_resembles_none_is_answered_with_all() -> None:
    with pytest.raises(PurerError, match=r"networks conv4, resnet10, resnet18, but got 'transformer'. Install"):
        build("transformer")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_argument_that_the_architecture_lacks_is_named(architecture: str) -> None:
    with pytest.raises(PurerError, match=f"(?s)widht.*{architecture}"):
        build(architecture, arguments={"widht": 8})


@pytest.mark.parametrize("size", [0, 8, 15])
def test_conv4_refuses_images_that_four_poolings_would_use_up(size: int) -> None:
    with pytest.raises(PurerError, match=f"at least 16 for conv4, but got {size}"):
        build("conv4", image_size=size)
