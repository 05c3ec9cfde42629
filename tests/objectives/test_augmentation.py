"""Views and mixtures of images: which pixels go where, on images whose pixels say where they come from."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from purer_lightning.errors import PurerError
from purer_lightning.objectives.augmentation import AugmentationSettings, augment, flipped, mixed, shifted

NOTHING = AugmentationSettings(flip=0.0, shift=0, mixup=0.0, cutmix=0.0)
ALL = AugmentationSettings()
COUNT, HEIGHT, WIDTH = 12, 9, 11


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coordinates() -> Tensor:
    """Return images whose three channels are the image's number, the row and the column, float64."""
    axes = (torch.arange(n, dtype=torch.float64) for n in (COUNT, HEIGHT, WIDTH))
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=1)


def noise() -> Tensor:
    return torch.randn(COUNT, 3, HEIGHT, WIDTH, dtype=torch.float64, generator=rng(5))


def test_with_all_settings_at_zero_nothing_changes() -> None:
    assert torch.equal(augment(noise(), NOTHING, rng()), noise())


def test_a_flip_turns_an_image_left_to_right_and_moves_nothing_else() -> None:
    images = noise()
    assert torch.equal(flipped(images, 1.0, rng()), images.flip(-1))
    found = flipped(images, 0.5, rng())
    turned = [torch.equal(one, other) for one, other in zip(found, images.flip(-1), strict=True)]
    same = [torch.equal(one, other) for one, other in zip(found, images, strict=True)]
    assert all(a != b for a, b in zip(turned, same, strict=True))
    assert 0 < sum(turned) < COUNT


def test_a_flip_happens_as_often_as_asked() -> None:
    ramp = torch.arange(2.0).expand(20_000, 1, 1, 2)
    share = (flipped(ramp, 0.3, rng())[:, 0, 0, 0] == 1).double().mean().item()
    assert share == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 20_000) ** 0.5)


def test_a_shift_moves_all_pixels_of_an_image_by_one_offset_and_mirrors_the_border() -> None:
    reach = 3
    number, row, column = shifted(coordinates(), reach, rng()).unbind(1)
    assert torch.equal(number, coordinates()[:, 0])
    offsets = set()
    for image in range(COUNT):
        # The middle shows no border, so it tells the offset; whence every other pixel has to come is then known.
        down, right = row[image, 4, 5].item() - 4, column[image, 4, 5].item() - 5
        offsets.add((down, right))
        rows = torch.tensor([mirrored(place + down, HEIGHT) for place in range(HEIGHT)], dtype=torch.float64)
        columns = torch.tensor([mirrored(place + right, WIDTH) for place in range(WIDTH)], dtype=torch.float64)
        assert torch.equal(row[image], rows[:, None].expand(HEIGHT, WIDTH))
        assert torch.equal(column[image], columns.expand(HEIGHT, WIDTH))
    assert len(offsets) > COUNT / 2


def mirrored(place: float, length: int) -> float:
    """Return which pixel stands at a place beyond the border, the border's own not repeated."""
    return -place if place < 0 else 2 * (length - 1) - place if place >= length else place


def test_every_offset_within_reach_occurs_equally_often() -> None:
    ramp = torch.arange(5.0).view(1, 1, 5, 1) * 10 + torch.arange(5.0)
    middle = shifted(ramp.expand(9000, 1, 5, 5), 1, rng())[:, 0, 2, 2]
    counts = Counter(middle.tolist())
    assert sorted(counts) == [11, 12, 13, 21, 22, 23, 31, 32, 33]
    assert all(abs(count - 1000) < 5 * 1000**0.5 for count in counts.values())


def test_mixup_is_a_convex_combination_of_two_images() -> None:
    shares = mixed(numbered(), 1.0, 0.0, rng())
    torch.testing.assert_close(shares, shares[:, :, :1, :1].expand_as(shares))  # the same at every pixel
    shares = shares[:, :, 0, 0]
    assert ((shares > -1e-12) & (shares < 1 + 1e-12)).all()
    assert ((shares > 1e-12).sum(dim=1) <= 2).all()
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(COUNT, dtype=torch.float64))
    assert (shares.amax(dim=1) < 1 - 1e-3).sum() > COUNT / 2


def test_cutmix_takes_one_rectangle_from_another_image_at_the_same_place() -> None:
    shares = mixed(numbered(), 0.0, 1.0, rng())
    assert ((shares - shares.round()).abs() < 1e-12).all()
    cut = 0
    for image in range(COUNT):
        partner = 1 - shares[image, image].round()
        cut += int(partner.any())
        # A rectangle is the outer product of its rows and its columns.
        assert torch.equal(partner, partner.amax(dim=1, keepdim=True) * partner.amax(dim=0, keepdim=True))
        assert all(edges(line) <= 2 for line in (partner.amax(dim=0), partner.amax(dim=1)))
        assert (shares[image].flatten(1).amax(dim=1) > 0.5).sum() <= 2
    assert cut > COUNT / 2
    moved = mixed(coordinates(), 0.0, 1.0, rng())
    assert torch.equal(moved[:, 1:], coordinates()[:, 1:])


def edges(line: Tensor) -> int:
    """Return how often 0 and 1 take turns in a line."""
    return int((line.diff() != 0).sum())


def numbered() -> Tensor:
    """Return images with 1 in a channel of their own: a mixture's channels say how much of which image is where."""
    return torch.eye(COUNT, dtype=torch.float64)[:, :, None, None].expand(-1, -1, HEIGHT, WIDTH).clone()


def test_the_area_that_cutmix_takes_is_uniform_before_the_border_cuts_it_off() -> None:
    images = torch.arange(2000.0)[:, None, None, None].expand(-1, 1, 32, 32)
    areas = (mixed(images, 0.0, 1.0, rng()) != images).flatten(1).double().mean(dim=1)
    # Of a side L, L - L^2 / 4 is within the border on average; L^2 is uniform: 2 * (1/4 - 1/10 + 1/96).
    assert areas.mean().item() == pytest.approx(0.3208, abs=4 * 0.25 / 2000**0.5)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.3, 0.0), (0.0, 0.3), (0.2, 0.5)])
def test_an_image_is_mixed_as_often_as_asked(mixup: float, cutmix: float) -> None:
    count = 4000
    images = torch.rand(count, 1, 8, 8, generator=rng(1))
    found = mixed(images, mixup, cutmix, rng())
    share = (found != images).flatten(1).any(dim=1).double().mean().item()
    # A rectangle can be too small to meet a pixel's centre, so the share of cut images is a little below.
    assert mixup + 0.9 * cutmix - 0.03 < share < mixup + cutmix + 0.03


def test_images_stay_as_they_were_given() -> None:
    images = noise()
    augment(images, ALL, rng())
    assert torch.equal(images, noise())


def test_gradients_pass_through_every_view() -> None:
    settings = AugmentationSettings(flip=0.5, shift=2, mixup=0.4, cutmix=0.4)
    images = torch.randn(3, 1, 4, 4, dtype=torch.float64, generator=rng(2), requires_grad=True)
    torch.autograd.gradcheck(lambda given: augment(given, settings, rng()), images)


def test_a_draw_depends_on_its_generator_alone() -> None:
    torch.manual_seed(1)
    first = augment(noise(), ALL, rng(4))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(augment(noise(), ALL, rng(4)), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(augment(noise(), ALL, rng(5)), first)


def test_what_is_done_with_an_image_does_not_depend_on_its_pixels() -> None:
    black = augment(torch.zeros_like(noise()), ALL, rng())
    assert torch.equal(black, torch.zeros_like(black))
    torch.testing.assert_close(augment(2 * noise(), ALL, rng()), 2 * augment(noise(), ALL, rng()))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (AugmentationSettings(flip=1.1), r"augmentation.flip.* within 0 and 1, but got 1.1"),
        (AugmentationSettings(mixup=-0.1), r"augmentation.mixup.* but got -0.1"),
        (AugmentationSettings(cutmix=2.0), r"augmentation.cutmix.* but got 2.0"),
        (AugmentationSettings(mixup=0.6, cutmix=0.5), r"at most 1, but got 0.6 \+ 0.5; lower one"),
        (AugmentationSettings(shift=-1), r"augmentation.shift .* but got -1"),
    ],
)
def test_a_value_out_of_its_range_is_named(settings: AugmentationSettings, expected: str) -> None:
    with pytest.raises(PurerError, match=expected):
        settings.check()


def test_a_shift_has_to_be_smaller_than_the_images() -> None:
    AugmentationSettings(shift=15).check_shift(16)
    with pytest.raises(PurerError, match="below the images' 16 pixels, but got 16; lower it"):
        AugmentationSettings(shift=16).check_shift(16)
