"""A few pictures of unseen classes as image files, so that there is something to try ``purer adapt`` on."""

from pathlib import Path

import torch
from PIL import Image

from purer_lightning.data.splits import ImageSplit
from purer_lightning.seeding import generator

CLASSES, SUPPORT, QUERY = 5, 5, 20


def write_examples(split: ImageSplit, folder: Path, seed: int, query: int = QUERY) -> None:
    """Write ``folder/support/<class>/<i>.png`` and ``folder/query/<class>/<i>.png``, of the same classes.

    Args:
        split: of at least ``CLASSES`` classes with ``SUPPORT + query`` pictures each.
        folder: made where it is not there.
        seed: of the draw.
        query: pictures of each class to be labelled.
    """
    rng = generator(seed, "example pictures")
    for position in torch.randperm(len(split.class_ids), generator=rng)[:CLASSES].tolist():
        slots = torch.randperm(int(split.counts[position]), generator=rng)[: SUPPORT + query]
        for part, chosen in (("support", slots[:SUPPORT]), ("query", slots[SUPPORT:])):
            place = folder / part / split.class_names[position].replace("/", "_")
            place.mkdir(parents=True, exist_ok=True)
            for slot, pixels in zip(chosen.tolist(), split.pictures(position, chosen), strict=True):
                rows = pixels.permute(1, 2, 0).squeeze(2).numpy()
                Image.fromarray(rows).save(place / f"{slot}.png")
