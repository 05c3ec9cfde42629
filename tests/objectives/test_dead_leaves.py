"""Procedural images: their shape, their moments, and that a seed makes them."""

import pytest
import torch

from purer_lightning.objectives import dead_leaves as module
from purer_lightning.objectives.dead_leaves import dead_leaves


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("count", "channels", "size"), [(5, 3, 32), (2, 1, 16), (1, 3, 84), (0, 3, 16)])
def test_images_have_the_shape_that_was_asked_for_and_are_finite(count: int, channels: int, size: int) -> None:
    images = dead_leaves(count, channels, size, rng())
    assert images.shape == (count, channels, size, size)
    assert images.dtype == torch.float32
    assert images.isfinite().all()


def test_a_seed_makes_the_images_and_nothing_else_does() -> None:
    first = dead_leaves(3, 3, 16, rng(1))
    before = torch.get_rng_state()
    assert torch.equal(dead_leaves(3, 3, 16, rng(1)), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(dead_leaves(3, 3, 16, rng(2)), first)


def test_how_many_are_painted_at_once_changes_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = dead_leaves(7, 3, 16, rng())
    monkeypatch.setattr(module, "CHUNK", 3)
    assert torch.equal(dead_leaves(7, 3, 16, rng()), wanted)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_pixel_has_mean_0_and_the_variance_that_is_documented(channels: int) -> None:
    images = dead_leaves(1500, channels, 16, rng())
    assert images.mean().item() == pytest.approx(0, abs=0.1)
    assert images.var().item() == pytest.approx(1.3, abs=0.15)
    # Everywhere alike: neither the border nor the middle is special.
    assert (images.var(dim=0) - 1.3).abs().max() < 0.35


def test_channels_go_together_as_in_photographs_but_are_not_the_same() -> None:
    images = dead_leaves(200, 3, 16, rng()).transpose(0, 1).flatten(1)
    correlation = torch.corrcoef(images)[0, 1].item()
    assert 0.6 < correlation < 0.95


def test_images_of_a_batch_differ_and_have_edges_of_many_sizes() -> None:
    images = dead_leaves(20, 1, 32, rng())[:, 0]
    assert (images.flatten(1).std(dim=1) > 0.2).all()
    assert torch.corrcoef(images.flatten(1)).fill_diagonal_(0).abs().max() < 0.9
    steps = images.diff(dim=2).abs().flatten(1)
    assert (steps.median(dim=1).values < 0.25).sum() > 15  # surfaces
    assert (steps.amax(dim=1) > 0.8).sum() > 15  # edges
