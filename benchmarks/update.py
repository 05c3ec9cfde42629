"""One meta-update of the package beside the plain reference: time, memory and gradients, in one process."""

import argparse
import logging
import statistics
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from lightning import Callback, LightningModule, Trainer
from rich import box
from rich.console import Console
from rich.table import Table

from interleaved import CLOCKS, Clock, seconds_of
from machine import RESULTS, describe_machine, headline, write_result
from parts import SAME, Difference, compare_gradients, parts_of
from problem import Problem, Setting
from purer_lightning.compute.memory import keep_freed_memory
from purer_lightning.engine.choice import Choice, EngineChoice

MIB = 2**20


class Times(NamedTuple):
    """Seconds of a part, a round each."""

    plain: list[float]
    product: list[float]

    def ratios(self) -> list[float]:
        """How many times the product's time the plain path took, by rounds: both ran next to each other."""
        return [plain / product for plain, product in zip(self.plain, self.product, strict=True)]


def time_parts(rounds: int, clock: Clock, *, compiled: bool) -> dict[str, Times]:
    """Time all parts, both paths next to each other and first in turn, each from the same state."""
    problem = Problem(Setting())
    problem.attach(compiled=compiled)
    parts = parts_of(problem)
    times = {part.name: Times([], []) for part in parts}
    for round_number in range(-1, rounds):
        for part in parts:
            paths = [(part.plain, times[part.name].plain), (part.product, times[part.name].product)]
            for work, seconds in paths[:: 1 if round_number % 2 else -1]:
                problem.restore()
                taken = seconds_of(work, clock)
                if round_number >= 0:  # the round before makes the optimisers' states
                    seconds.append(taken)
    return times


class Stopwatch(Callback):
    """Times the Trainer's whole loop, plan and logging with it, from batch to batch; in between, the plain update."""

    def __init__(self, plain_update: Callable[[], object], clock: Clock) -> None:
        self.plain_update, self.clock = plain_update, clock
        self.times = Times([], [])
        self._begin = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """End the last update's time, run the plain update, begin anew; the first update does not count."""
        del trainer, pl_module, batch
        taken = self.clock() - self._begin
        if batch_idx > 1:
            self.times.product.append(taken)
        taken = seconds_of(self.plain_update, self.clock)
        if batch_idx > 0:
            self.times.plain.append(taken)
        self._begin = self.clock()


def time_trainer(rounds: int, clock: Clock, engine: Choice) -> Times:
    """Time updates of ``Trainer.fit`` with the switch off, and plain ones in turn."""
    problem = Problem(Setting())
    plain_update = next(part.plain for part in parts_of(problem) if part.name == "update, switch off")
    stopwatch = Stopwatch(plain_update, clock)
    with TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=rounds + 2,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[stopwatch],
            default_root_dir=folder,
        )
        problem.module.engine = EngineChoice(engine)
        trainer.fit(problem.module, datamodule=problem.data)
    return Times(stopwatch.times.plain[:rounds], stopwatch.times.product[:rounds])


def resident(key: str) -> float:
    """Return this process's resident memory in MiB: VmRSS now, VmHWM at its highest. Linux only."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[key].split()[0]) * 1024 / MIB


def prepare_process(threads: int, allocator: str) -> None:
    """Set what holds for the whole process, so for both paths."""
    torch.set_num_threads(threads)
    if allocator == "kept":
        keep_freed_memory()


def peak_memory(path: str, threads: int, allocator: str, engine: Choice) -> dict[str, float]:
    """Run three updates with the switch on; return MiB before and at the peak. For a process of its own."""
    prepare_process(threads, allocator)
    problem = Problem(Setting())
    problem.attach(compiled=engine == "compiled" and path == "product")
    part = next(part for part in parts_of(problem) if part.name == "update, switch on")
    before = resident("VmRSS")
    for _ in range(3):
        part.plain() if path == "plain" else part.product()
    return {"before": before, "peak": resident("VmHWM")}


def measure_memory(threads: int, allocator: str, engine: Choice) -> dict[str, dict[str, float]]:
    """Return both paths' memory, each in a fresh process, since a peak never falls."""
    given = (threads, allocator, engine)
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        return {path: processes.submit(peak_memory, path, *given).result() for path in ("plain", "product")}


def table_of(times: dict[str, Times], differences: dict[str, dict[str, Difference]]) -> Table:
    """Return the table that is printed."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("milliseconds")
    for heading in ("plain", "product", "ratio", "lowest", "highest", *differences):
        table.add_column(heading, justify="right")
    for name, part_times in times.items():
        ratios = part_times.ratios()
        table.add_row(
            name,
            *(f"{1000 * statistics.median(path):.1f}" for path in part_times),
            *(f"{ratio:.2f}" for ratio in (statistics.median(ratios), min(ratios), max(ratios))),
            *(f"{found[name].whole:.1e}" if name in found else "-" for found in differences.values()),
        )
    return table


def footnotes(differences: dict[str, dict[str, Difference]], memory: dict[str, dict[str, float]]) -> Iterator[str]:
    """Yield what stands below the table."""
    yield "ratio: plain / product, median over rounds. float32, float64: how far their gradients differ."
    for name, found in differences["float32"].items():
        if found.images:
            yield f"{name}: {found.images} image(s) differ by more than {SAME:g} in float32 (README: kinks)."
    for path, mib in memory.items():
        yield f"peak memory, {path}: {mib['peak']:.0f} MiB, {mib['before']:.0f} of them before the first update."


def summary(times: dict[str, Times]) -> dict[str, dict[str, float]]:
    """Return medians over rounds: seconds of both paths and the ratio."""
    return {
        name: {path: statistics.median(seconds) for path, seconds in part_times._asdict().items()}
        | {"ratio": statistics.median(part_times.ratios())}
        for name, part_times in times.items()
    }


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    parser.add_argument(
        "--engine", choices=["plain", "compiled"], default="compiled", help="of the product, as engine.choice"
    )
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds, after one that does not count")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: this process's own time, for a machine that others use"
    )
    parser.add_argument(
        "--allocator",
        choices=["kept", "default"],
        default="kept",
        help="for both paths: keep freed memory, as `purer fit` does, or glibc's default",
    )
    parser.add_argument("--output", type=Path, default=None, help="the JSON file to write")
    return parser.parse_args()


def main() -> None:
    """Compare, time, print, write."""
    arguments = parsed()
    prepare_process(arguments.threads, arguments.allocator)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # the Trainer greets
    warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)  # Lightning's own use of torch

    conditions = {name: value for name, value in vars(arguments).items() if name != "output"}
    machine = describe_machine() | {"torch": torch.__version__}
    engine: Choice = arguments.engine
    compiled = engine == "compiled"
    memory = measure_memory(arguments.threads, arguments.allocator, engine)
    differences = {
        name: differences_in(dtype, compiled=compiled)
        for name, dtype in (("float32", torch.float32), ("float64", torch.float64))
    }
    clock = CLOCKS[arguments.clock]
    times = time_parts(arguments.rounds, clock, compiled=compiled)
    times["update, Trainer"] = time_trainer(arguments.rounds, clock, engine)

    console = Console(width=100, highlight=False)  # as wide in a file as in a terminal
    console.print(f"{headline(machine)}\n{', '.join(f'{name} {value}' for name, value in conditions.items())}")
    console.print(table_of(times, differences))
    for line in footnotes(differences, memory):
        console.print(line)
    result = {
        "machine": machine,
        "conditions": conditions,
        "setting": asdict(Setting()),
        "medians": summary(times),
        "seconds": {name: part_times._asdict() for name, part_times in times.items()},
        "gradient_differences": {
            dtype: {name: difference._asdict() for name, difference in found.items()}
            for dtype, found in differences.items()
        },
        "memory_mib": memory,
    }
    write_result(arguments.output or RESULTS / ("update.json" if compiled else "update_plain_engine.json"), result)


def differences_in(dtype: torch.dtype, *, compiled: bool) -> dict[str, Difference]:
    """Compare the gradients of the timed setting in one precision."""
    problem = Problem(Setting(), dtype)
    problem.attach(compiled=compiled)
    return compare_gradients(problem)


if __name__ == "__main__":
    main()
