"""Time and memory of a meta-update against the size of the pool, at a fixed number of teachers an update.

Every case is `Trainer.fit` in a process of its own, with teachers on disjoint classes, five each: the larger the pool,
the larger the bank.
"""

import argparse
import hashlib
import logging
import statistics
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from rich import box
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from interleaved import CLOCKS
from machine import RESULTS, describe_machine, headline, write_result
from purer_lightning.callbacks import SynthesisCallback
from purer_lightning.compute.memory import keep_freed_memory
from purer_lightning.learners.maml import Maml
from purer_lightning.nets import NetworkSpec
from purer_lightning.nets.normalisation import Normalisation
from purer_lightning.pool.manifest import PoolManifest, TeacherRecord, write_manifest
from purer_lightning.seeding import derived_seed
from purer_lightning.training import PurerModule
from purer_lightning.training.data_module import PseudoEpisodeDataModule

MIB = 2**20
WAY = 5
UNTIMED = 2  # updates before the first that counts


@dataclass
class Case:
    """What is measured.

    Attributes:
        teachers: in the pool.
        asked: teachers an update; None for all.
        on_disk: teachers and bank stay on disk, ``asked`` teachers in memory; else all is in memory.
    """

    teachers: int
    asked: int | None
    on_disk: bool


CASES = (
    *(Case(teachers, 13, on_disk=True) for teachers in (13, 100, 1000)),
    *(Case(teachers, 13, on_disk=False) for teachers in (13, 100, 1000)),
    *(Case(teachers, None, on_disk=False) for teachers in (13, 100)),
)


class Clock(Callback):
    """Notes when each update has ended."""

    def __init__(self, clock: str) -> None:
        self.clock = CLOCKS[clock]
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Note the time; from one end to the next is a whole update, with the drawing of its plan."""
        del trainer, pl_module, args
        self.ends.append(self.clock())


def write_pool(folder: Path, teachers: int) -> None:
    """Write a pool of Conv4 with random weights, whose values do not change the cost."""
    records = []
    for number in range(teachers):
        spec = NetworkSpec("conv4", WAY, 3, 32, {})
        torch.manual_seed(derived_seed(0, "benchmark teacher", number))
        path = folder / f"teacher_{number:05d}.safetensors"
        save_file(spec.build(running_statistics=True).state_dict(), path)
        classes = list(range(WAY * number, WAY * number + WAY))
        mark = hashlib.sha256(path.read_bytes()).hexdigest()
        names = [f"class {known}" for known in classes]
        records.append(TeacherRecord(path.stem, path.name, mark, spec, "random", classes, names, None))
    write_manifest(folder, PoolManifest(32, 3, Normalisation((0.0,) * 3, (1.0,) * 3), records))


def status(key: str) -> float:
    """Return a figure of this process's memory in MiB: VmHWM is the peak. Linux only."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 1024 / MIB


def measure(case: Case, folder: Path, rounds: int, threads: int, clock_name: str) -> dict[str, Any]:
    """Train for some updates; for a process of its own, since a peak never falls."""
    torch.set_num_threads(threads)
    keep_freed_memory()  # as `purer fit` does
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # the Trainer greets
    warnings.filterwarnings("ignore")
    resident = case.asked if case.on_disk else None
    data = PseudoEpisodeDataModule(
        pool=str(folder),
        way=WAY,
        shot=1,
        query=15,
        updates_per_epoch=rounds + UNTIMED,
        teachers_per_update=case.asked,
        resident_teachers=resident,
    )
    clock = Clock(clock_name)
    before = status("VmHWM")
    with tempfile.TemporaryDirectory(dir=folder.parent) as run:
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=rounds + UNTIMED,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[SynthesisCallback(on_disk=case.on_disk), clock],
            default_root_dir=run,
        )
        begin = clock.clock()
        trainer.fit(PurerModule(Maml()), datamodule=data)
    ends = clock.ends[UNTIMED - 1 :]
    seconds = [after - start for start, after in pairwise(ends)]
    bank = data.bank.images.numel() * 4 / MIB
    return asdict(case) | {
        "classes": len(data.teachers.classes),
        "bank_mib": bank,
        "start_seconds": ends[0] - begin,  # with the updates that are not timed
        "seconds": seconds,
        "peak_mib": status("VmHWM"),
        "before_mib": before,
    }


def table_of(found: list[dict[str, Any]]) -> Table:
    """Return the table that is printed."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("pool", "asked", "kept", "bank MiB", "start s", "update ms", "lowest", "highest", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "kept" else "right")
    for row in found:
        seconds = row["seconds"]
        table.add_row(
            str(row["teachers"]),
            str(row["asked"] or "all"),
            "on disk" if row["on_disk"] else "in memory",
            f"{row['bank_mib']:.0f}",
            f"{row['start_seconds']:.1f}",
            *(f"{1000 * value:.0f}" for value in (statistics.median(seconds), min(seconds), max(seconds))),
            f"{row['peak_mib']:.0f}",
        )
    return table


def main() -> None:
    """Make the pools, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: this process's own time, for a machine that others use"
    )
    parser.add_argument("--rounds", type=int, default=10, help="timed updates, after two that do not count")
    parser.add_argument("--output", type=Path, default=RESULTS / "pools.json", help="the JSON file to write")
    arguments = parser.parse_args()
    machine = describe_machine() | {"torch": torch.__version__, "threads": arguments.threads}
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for teachers in sorted({case.teachers for case in CASES}):
            (Path(scratch) / str(teachers)).mkdir()
            write_pool(Path(scratch) / str(teachers), teachers)
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
            for case in CASES:
                folder = Path(scratch) / str(case.teachers)
                how = (arguments.rounds, arguments.threads, arguments.clock)
                found.append(processes.submit(measure, case, folder, *how).result())
    console = Console(width=100, highlight=False)
    conditions = f"{arguments.threads} thread(s), {arguments.rounds} updates a case, {arguments.clock} time"
    console.print(f"{headline(machine)}, {conditions}")
    console.print(table_of(found))
    result = {"machine": machine, "rounds": arguments.rounds, "clock": arguments.clock, "cases": found}
    write_result(arguments.output, result)


if __name__ == "__main__":
    main()
