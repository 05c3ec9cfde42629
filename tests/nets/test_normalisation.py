"""Pictures to normalised pixel space and back."""

import pytest
import torch
from torch import Tensor

from purer_lightning.nets.normalisation import Normalisation

COLOUR = Normalisation(mean=(0.507, 0.487, 0.441), std=(0.267, 0.256, 0.276))
GREY = Normalisation(mean=(0.9,), std=(0.05,))


def every_value(channels: int) -> Tensor:
    """Return uint8 (channels, 16, 16) that holds each of the 256 values once a channel."""
    return torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).repeat(channels, 1, 1)


@pytest.mark.parametrize("normalisation", [COLOUR, GREY], ids=["colour", "grey"])
def test_each_channel_is_shifted_by_its_own_mean_and_scaled_by_its_own_deviation(normalisation: Normalisation) -> None:
    pictures = every_value(len(normalisation.mean))
    normalised = normalisation.apply(pictures)
    assert normalised.dtype == torch.float32
    for channel, (mean, std) in enumerate(zip(*normalisation, strict=True)):
        by_hand = (pictures[channel].double() / 255 - mean) / std
        torch.testing.assert_close(normalised[channel].double(), by_hand, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("normalisation", [COLOUR, GREY], ids=["colour", "grey"])
def test_undo_returns_the_same_picture_for_every_value(normalisation: Normalisation) -> None:
    pictures = every_value(len(normalisation.mean))
    returned = normalisation.undo(normalisation.apply(pictures))
    assert returned.dtype == torch.uint8
    assert torch.equal(returned, pictures)


def test_batches_are_treated_image_by_image() -> None:
    pictures = torch.randint(256, (2, 4, 3, 5, 7), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    batched = COLOUR.apply(pictures)
    assert batched.shape == pictures.shape
    assert torch.equal(batched[1, 2], COLOUR.apply(pictures[1, 2]))
    assert torch.equal(COLOUR.undo(batched), pictures)


def test_what_lies_outside_the_range_of_a_picture_is_clipped() -> None:
    extremes = torch.tensor([-100.0, 100.0]).expand(3, 1, 2)
    assert COLOUR.undo(extremes).tolist() == [[[0, 255]]] * 3


def test_undo_takes_images_that_are_being_optimised() -> None:
    images = torch.zeros(1, 3, 2, 2, requires_grad=True)
    assert not COLOUR.undo(images).is_floating_point()
    assert COLOUR.undo(images)[0, :, 0, 0].tolist() == [round(255 * mean) for mean in COLOUR.mean]
