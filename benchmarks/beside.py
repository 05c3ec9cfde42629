"""What runs beside the meta-update: a pre-training epoch, judging and learning in distillation, opening data."""

import argparse
import copy
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F

from interleaved import CLOCKS, in_turn, medians, ratios
from machine import RESULTS, describe_machine, headline, write_result
from problem import Setting, make_pool
from purer_lightning.compute.backend import PLAIN, Backend
from purer_lightning.compute.memory import keep_freed_memory
from purer_lightning.data.preparation import prepare
from purer_lightning.data.real_episodes import RealEpisodes
from purer_lightning.data.splits import ImageSplit, open_split
from purer_lightning.engine.choice import compiled
from purer_lightning.nets import NetworkSpec
from purer_lightning.pool.ensemble import Judges

Ways = dict[str, Callable[[], object]]
BATCH = 256  # of distillation, as its default
WAY = 5
TEACHER_BATCH, TEACHER_BATCHES = 128, 4  # of pre-training; an epoch of a CIFAR-FS teacher has 19


def training(
    network: nn.Module, backend: Backend, batches: list[tuple[torch.Tensor, torch.Tensor]]
) -> Callable[[], object]:
    """Return what trains a network by Adam on these batches, as pre-training and distillation do."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def work() -> None:
        for images, targets in batches:
            said = backend.run(network, {}, images).logits
            loss = F.smooth_l1_loss(said, targets) if targets.is_floating_point() else F.cross_entropy(said, targets)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return work


def networks_of(outputs: int) -> dict[str, tuple[nn.Module, Backend]]:
    """Return one Conv4 in training, as the reference and as both engines run it."""
    torch.manual_seed(0)
    plain = NetworkSpec("conv4", outputs, 3, 32).build(running_statistics=True).train()
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return {"plain": (plain, PLAIN), "channels last": (last, PLAIN), "compiled": (copy.deepcopy(last), compiled())}


def pretraining() -> Ways:
    """Four of a teacher's batches: the reference, and both ways to run the product's loop."""
    data = [(torch.randn(TEACHER_BATCH, 3, 32, 32), torch.arange(TEACHER_BATCH) % 5) for _ in range(TEACHER_BATCHES)]
    return {name: training(*way, laid_out(data, name)) for name, way in networks_of(5).items()}


def student() -> Ways:
    """A theta step of distillation: 64 outputs of all teachers, running statistics."""
    data = [(torch.randn(BATCH, 3, 32, 32), torch.randn(BATCH, 64))]
    return {name: training(*way, laid_out(data, name)) for name, way in networks_of(64).items()}


def laid_out(data: list[tuple[torch.Tensor, torch.Tensor]], way: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the batches in the memory format of a way."""
    layout = torch.contiguous_format if way == "plain" else torch.channels_last
    return [(images.contiguous(memory_format=layout), targets) for images, targets in data]


def judging() -> Ways:
    """All teachers' logits of one batch: teachers as they are, folded (the plain engine), and folded and fused."""
    teachers = [teacher.network for teacher in make_pool(Setting(), torch.float32).teachers]
    images = torch.randn(BATCH, 3, 32, 32)
    plain, fused = Judges(teachers).to(images), Judges(teachers, compiled()).to(images)

    def judge(asked: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            return asked(images)

    return {
        "plain": lambda: judge(lambda seen: torch.cat([teacher(seen) for teacher in teachers], dim=1)),
        "channels last": lambda: judge(plain),
        "compiled": lambda: judge(fused),
    }


def write_pictures(split: ImageSplit, folder: Path) -> list[list[Path]]:
    """Write a split in colour as PNG files in class folders, as before it is prepared; return the files by class."""
    files = []
    for position, name in enumerate(split.class_names):
        own = folder / name
        own.mkdir()
        files.append([own / f"{number}.png" for number in range(int(split.counts[position]))])
        for file, picture in zip(files[-1], split.of_class(position), strict=True):
            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file)
    return files


def decoded(files: Iterable[Path]) -> torch.Tensor:
    """Read picture after picture: uint8, (N, 3, H, W)."""
    return torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files])).movedim(3, 1)


def opening(root: Path) -> dict[str, Ways]:
    """Opening a prepared split, which reads no picture yet, and reading an episode; the reference decodes files."""
    prepare("glyphs", root=str(root))
    split = open_split(root, "glyphs", "val")
    (root / "pictures").mkdir()
    files = write_pictures(split, root / "pictures")
    episodes = RealEpisodes(split, split.normalisation, WAY, 1, 15, 10**6, 0)
    numbers, draw = iter(range(10**6)), random.Random(0)

    def plain_episode() -> torch.Tensor:
        chosen = [file for own in draw.sample(files, WAY) for file in draw.sample(own, 16)]
        return split.normalisation.apply(decoded(chosen))

    return {
        f"opening {split.total} pictures": {
            "plain": lambda: [decoded(own) for own in files],
            "prepared": lambda: open_split(root, "glyphs", "val"),
        },
        "reading an episode": {"plain": plain_episode, "prepared": lambda: episodes[next(numbers)]},
    }


def main() -> None:
    """Time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: this process's own time")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds, after one that does not count")
    parser.add_argument("--output", type=Path, default=RESULTS / "beside.json", help="the JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    machine = describe_machine() | {"torch": torch.__version__, "threads": arguments.threads}
    clock = CLOCKS[arguments.clock]
    console = Console(width=100, highlight=False)
    with TemporaryDirectory() as folder:
        parts = {
            f"pre-training, {TEACHER_BATCHES} batches of {TEACHER_BATCH}": pretraining(),
            f"judging {BATCH} images by 13 teachers": judging(),
            f"student's step on {BATCH} images": student(),
            **opening(Path(folder)),
        }
        seconds = {name: in_turn(ways, arguments.rounds, clock) for name, ways in parts.items()}
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("part", "way", "milliseconds", "plain / this"):
        table.add_column(heading, justify="left" if heading in ("part", "way") else "right")
    for part, taken in seconds.items():
        faster = ratios(taken, "plain")
        for way, median in medians(taken).items():
            table.add_row(part, way, f"{1000 * median:.1f}", f"{faster[way]:.2f}")
    console.print(
        f"{headline(machine)}, {arguments.threads} thread(s), {arguments.rounds} rounds, {arguments.clock} time"
    )
    console.print(table)
    write_result(arguments.output, {"machine": machine, "rounds": arguments.rounds, "seconds": seconds})


if __name__ == "__main__":
    main()
