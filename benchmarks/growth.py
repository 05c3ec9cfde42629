"""How time and memory of a meta-update grow with each size of the problem; fitted exponents."""

import argparse
import math
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from interleaved import CLOCKS, seconds_of
from machine import RESULTS, describe_machine, headline, write_result
from parts import parts_of
from problem import Problem, Setting
from purer_lightning.compute.memory import keep_freed_memory
from update import resident

# A small base, so that a size can grow tenfold within minutes; teachers have the paper's classes and width.
BASE = Setting(classes=20, images_per_class=16)
SIZES: dict[str, list[Setting]] = {
    "teachers": [replace(BASE, classes=5 * count) for count in (1, 3, 10, 30, 100)],
    "images per class": [replace(BASE, images_per_class=count) for count in (16, 32, 64, 128)],
    "image size": [replace(BASE, image_size=size) for size in (16, 32, 64, 96)],
    "inner steps": [replace(BASE, inner_steps=count) for count in (1, 2, 5, 10)],
    "way": [replace(BASE, way=count) for count in (2, 5, 10, 20)],
    "shot": [replace(BASE, shot=count, images_per_class=count + 15) for count in (1, 5, 20, 50)],
}
MEMORY_STEPS = (1, 2, 5, 10)


def value_of(name: str, setting: Setting) -> int:
    """Return the size that grows."""
    if name == "teachers":
        return math.ceil(setting.classes / setting.classes_per_teacher)
    found: int = getattr(setting, name.replace(" ", "_"))
    return found


def time_of(setting: Setting, rounds: int, clock: str) -> dict[str, float]:
    """Return median seconds of the data step and of the theta step, by the compiled engine."""
    problem = Problem(setting)
    problem.attach(compiled=True)
    parts = {part.name: part.product for part in parts_of(problem)}
    found = {}
    for name in ("inversion step", "meta-step"):
        parts[name]()  # does not count
        found[name] = statistics.median(seconds_of(parts[name], CLOCKS[clock]) for _ in range(rounds))
    return found


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Return the slope of log time over log size by least squares: 1 is linear."""
    x, y = [math.log(size) for size in sizes], [math.log(taken) for taken in seconds]
    return statistics.linear_regression(x, y).slope


def last_exponent(sizes: list[int], seconds: list[float]) -> float:
    """Return the slope between the two largest sizes, where fixed costs weigh least."""
    return math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2])


def memory_of(steps: int, second_order: bool) -> float:
    """Return MiB that a theta step adds to a fresh process's peak."""
    torch.set_num_threads(1)
    problem = Problem(replace(BASE, inner_steps=steps, shot=5, images_per_class=20))
    problem.attach(compiled=True)
    problem.module.learner.second_order = second_order
    step = next(part.product for part in parts_of(problem) if part.name == "meta-step")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far; Linux alone
    before = resident("VmRSS")
    step()
    return resident("VmHWM") - before


def measure_memory() -> dict[str, list[float]]:
    """Return MiB by inner steps, each figure from a process of its own, since a peak never falls."""
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        return {
            order: [processes.submit(memory_of, steps, order == "second order").result() for steps in MEMORY_STEPS]
            for order in ("second order", "first order")
        }


def table_of(growth: dict[str, dict[str, Any]]) -> Table:
    """Return the table that is printed."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("size", "values", "step", "milliseconds", "exponent", "at the end"):
        table.add_column(heading, justify="right" if heading in ("exponent", "at the end") else "left")
    for name, found in growth.items():
        for step, seconds in found["seconds"].items():
            shown = " ".join(f"{1000 * taken:.0f}" for taken in seconds)
            table.add_row(
                name,
                " ".join(map(str, found["values"])),
                step,
                shown,
                f"{exponent(found['values'], seconds):.2f}",
                f"{last_exponent(found['values'], seconds):.2f}",
            )
    return table


def main() -> None:
    """Time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds, after one that does not count")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: this process's own time")
    parser.add_argument("--only", choices=SIZES, default=None, help="one size alone")
    parser.add_argument("--output", type=Path, default=RESULTS / "growth.json", help="the JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    machine = describe_machine() | {"torch": torch.__version__, "threads": arguments.threads}
    growth: dict[str, dict[str, Any]] = {}
    for name, settings in SIZES.items():
        if arguments.only not in (None, name):
            continue
        found = [time_of(setting, arguments.rounds, arguments.clock) for setting in settings]
        seconds = {step: [each[step] for each in found] for step in found[0]}
        growth[name] = {"values": [value_of(name, setting) for setting in settings], "seconds": seconds}
    memory = measure_memory()
    console = Console(width=110, highlight=False)
    console.print(f"{headline(machine)}, {arguments.threads} thread(s), {arguments.rounds} rounds")
    console.print(table_of(growth))
    for order, mib in memory.items():
        steps = " ".join(map(str, MEMORY_STEPS))
        shown = " ".join(f"{each:.0f}" for each in mib)
        console.print(f"memory of a 5-shot theta step, {order}, inner steps {steps}: {shown} MiB")
    write_result(arguments.output, {"machine": machine, "growth": growth, "memory_mib": memory})


if __name__ == "__main__":
    main()
