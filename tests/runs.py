"""Small runs on disk, untrained, for the tests of what comes after training."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from purer_lightning.data.glyphs import glyph_pictures
from purer_lightning.learners import Learner, Maml
from purer_lightning.learners.loading import describe_for_loading
from purer_lightning.nets.normalisation import Normalisation

SIZE, WIDTH = 16, {"width": 4}
COLOUR = Normalisation((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
GREY = Normalisation((0.4,), (0.3,))


def built(learner: Learner | None = None, way: int = 3, channels: int = 3) -> Learner:
    """Return a learner with its first weights, in eval mode."""
    learner = learner or Maml("conv4", WIDTH, inner_lr=0.1)
    learner.build(way, channels, SIZE, seed=1)
    return learner.eval()


def checkpoint(learner: Learner, normalisation: Normalisation = COLOUR) -> dict[str, Any]:
    """Return what ``purer fit`` saves of a meta-model."""
    return {
        "global_step": 90,
        "state_dict": {f"learner.{name}": value for name, value in learner.state_dict().items()},
        "meta_model": learner.describe() | describe_for_loading(learner, normalisation),
    }


def write_run(folder: Path, learner: Learner | None = None, normalisation: Normalisation = COLOUR) -> Path:
    """Write ``folder/checkpoints/best.ckpt`` and return the folder."""
    (folder / "checkpoints").mkdir(parents=True)
    saved = checkpoint(learner or built(channels=len(normalisation.mean)), normalisation)
    torch.save(saved, folder / "checkpoints" / "best.ckpt")
    return folder


def pictures(labels: Tensor, channels: int = 3, seed: int = 0) -> Tensor:
    """Return uint8 pictures (N, channels, SIZE, SIZE): of each label a pattern of its own, under noise."""
    patterns = torch.randint(40, 215, (100, channels, 4, 4), generator=torch.Generator().manual_seed(99))
    large = patterns[labels].float().repeat_interleave(SIZE // 4, 2).repeat_interleave(SIZE // 4, 3)
    noise = 8 * torch.randn(large.shape, generator=torch.Generator().manual_seed(seed))
    return (large + noise).clamp(0, 255).to(torch.uint8)


def write_glyphs(folder: Path, counts: dict[str, int], first: int = 0) -> Path:
    """Write Glyphs as ``folder/<class>/<i>.png``, so many of each class from number ``first`` on; return the folder.

    Args:
        folder: made where it is not there.
        counts: pictures by class, named by a part of its name, such as "symbol" or "digit two".
        first: pictures of other numbers are others.
    """
    classes = glyph_pictures(first + max(counts.values()), seed=0)
    for part, count in counts.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        name = next(name for name in classes if part in name)
        for number in range(first, first + count):
            classes[name][number].load().save(folder / part / f"{number}.png")
    return folder
