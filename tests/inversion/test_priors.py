"""The priors against double loops over pixels and channels, and what they must not depend on."""

import math

import pytest
import torch
from torch import Tensor

from purer_lightning.inversion.priors import feature_distance, total_variation
from purer_lightning.nets.statistics import Statistics


def pictures(seed: int = 0) -> Tensor:
    return torch.randn(2, 3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def made_up_statistics(seed: int) -> Statistics:
    rng = torch.Generator().manual_seed(seed)
    sizes = {"first": 3, "second": 5}
    return {
        name: (torch.randn(n, dtype=torch.float64, generator=rng), torch.rand(n, dtype=torch.float64, generator=rng))
        for name, n in sizes.items()
    }


def naive_norm_of_differences(images: Tensor, down: int, right: int) -> float:
    """Norm over all pairs of pixels of which one lies ``down`` and ``right`` of the other, within one channel."""
    count, channels, height, width = images.shape
    squares = 0.0
    for image in range(count):
        for channel in range(channels):
            plane = images[image, channel].tolist()
            for i in range(height):
                for j in range(width):
                    if 0 <= i + down < height and 0 <= j + right < width:
                        squares += (plane[i + down][j + right] - plane[i][j]) ** 2
    return math.sqrt(squares)


def test_total_variation_is_the_sum_of_four_norms_over_the_whole_batch() -> None:
    images = pictures()
    directions = [(0, 1), (1, 0), (1, 1), (1, -1)]
    wanted = sum(naive_norm_of_differences(images, *direction) for direction in directions)
    assert total_variation(images).item() == pytest.approx(wanted, rel=1e-12)


def test_total_variation_of_constant_images_is_zero_with_a_finite_gradient() -> None:
    images = torch.full((2, 3, 4, 4), 1.7, requires_grad=True)
    value = total_variation(images)
    assert value.item() == 0
    assert torch.equal(torch.autograd.grad(value, images)[0], torch.zeros_like(images))


@pytest.mark.parametrize("flipped", [(-1,), (-2,), (-2, -1)], ids=["mirrored", "upside down", "both"])
def test_total_variation_does_not_change_when_images_are_flipped(flipped: tuple[int, ...]) -> None:
    images = pictures()
    torch.testing.assert_close(total_variation(images.flip(flipped)), total_variation(images), rtol=1e-12, atol=0)


def test_total_variation_of_a_scaled_batch_is_scaled_so_the_norms_are_not_squared() -> None:
    images = pictures()
    torch.testing.assert_close(total_variation(3 * images), 3 * total_variation(images), rtol=1e-12, atol=0)


def test_total_variation_of_a_batch_repeated_four_times_doubles_so_it_is_no_mean_over_images() -> None:
    images = pictures()
    repeated = images.repeat(4, 1, 1, 1)
    torch.testing.assert_close(total_variation(repeated), 2 * total_variation(images), rtol=1e-12, atol=0)


def test_feature_distance_is_the_sum_of_plain_norms_over_layers() -> None:
    found, wanted = made_up_statistics(0), made_up_statistics(1)
    total = 0.0
    for name in ("first", "second"):
        for part in (0, 1):
            pairs = zip(found[name][part].tolist(), wanted[name][part].tolist(), strict=True)
            total += math.sqrt(sum((a - b) ** 2 for a, b in pairs))
    assert float(feature_distance(found, wanted)) == pytest.approx(total, rel=1e-12)


def test_feature_distance_is_zero_when_the_statistics_match() -> None:
    assert float(feature_distance(made_up_statistics(0), made_up_statistics(0))) == 0


def test_feature_distance_without_batchnorm_is_zero() -> None:
    assert feature_distance({}, {}) == 0.0
