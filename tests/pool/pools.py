"""Small pools and a small data set on disk, for the tests."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from purer_lightning.data.metadata import DatasetRecord, SplitRecord
from purer_lightning.nets import NetworkSpec
from purer_lightning.nets.normalisation import Normalisation
from purer_lightning.pool.manifest import PoolManifest, TeacherRecord
from purer_lightning.pool.writing import store_teacher

NORMALISATION = Normalisation((0.5, 0.4, 0.3), (0.2, 0.25, 1 / 3))
NAMES = ("apple", "bear", "cup", "dove", "elm", "fox", "gate", "hat")


def network(classes: int, seed: int = 0, image_size: int = 16, width: int = 4) -> nn.Module:
    """Return a small Conv4 with running statistics that are not the initial ones."""
    torch.manual_seed(seed)
    spec = NetworkSpec("conv4", classes, 3, image_size, {"width": width})
    teacher = spec.build(running_statistics=True)
    teacher(torch.randn(8, 3, image_size, image_size))
    return teacher.eval()


def store(
    folder: Path, name: str, class_ids: list[int], weights: dict[str, Tensor] | None = None, outputs: int | None = None
) -> None:
    """Put a teacher of the data set "things" into a pool; ``weights`` and ``outputs`` may be wrong on purpose."""
    spec = NetworkSpec("conv4", len(class_ids) if outputs is None else outputs, 3, 16, {"width": 4})
    names = [NAMES[number] for number in class_ids]
    record = TeacherRecord(name, f"{name}.safetensors", "", spec, "things", class_ids, names, 0.75)
    weights = network(len(class_ids), seed=class_ids[0]).state_dict() if weights is None else weights
    store_teacher(folder, PoolManifest(16, 3, NORMALISATION, [record]), weights, {})


def prepare_pictures(root: Path, classes: int = 7, images: int = 15, image_size: int = 16) -> None:
    """Write a prepared data set "shades": each class has a colour of its own, with noise, and its number in one pixel.

    The pixel at row 0, column 0 of channel 0 holds the class's position: the truth that labels are compared with.
    """
    rng = torch.Generator().manual_seed(0)
    colours = torch.randint(60, 190, (classes, 1, 3, 1, 1), generator=rng)
    noise = torch.randint(-60, 60, (classes, images, 3, image_size, image_size), generator=rng)
    pictures = (colours + noise).to(torch.uint8)
    pictures[:, :, 0, 0, 0] = torch.arange(classes, dtype=torch.uint8)[:, None]
    folder, splits = root / "shades", {}
    folder.mkdir(parents=True)
    for start, split in ((0, "train"), (classes, "val"), (2 * classes, "test")):
        np.save(folder / f"{split}.npy", pictures.flatten(0, 1).numpy())
        ids = list(range(start, start + classes))
        names = [f"shade {number:02d}" for number in ids]
        shape = list(pictures.flatten(0, 1).shape)
        splits[split] = SplitRecord(ids, names, [images] * classes, shape, (folder / f"{split}.npy").stat().st_size)
    record = DatasetRecord("shades", image_size, 3, NORMALISATION, [], {}, splits)
    (folder / "dataset.json").write_text(record.to_json(), encoding="utf-8")
