"""Whole meta-updates on a GPU: the reference, the package by its plain and its batched engine; and where time goes.

Beside them the batched gradients compiled, and captured as CUDA graphs, which the package does not do.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from gpu_ways import (
    BATCHED,
    LAYOUTS,
    LOOPED,
    PLAIN,
    SCORED,
    Engines,
    Way,
    captured,
    clock_of,
    compiled,
    gradients_of,
    scoring_ways,
)
from interleaved import in_turn, medians, ratios
from machine import RESULTS, describe_machine, headline, write_result
from occupancy import occupancy_of
from parts import compare, compare_gradients, parts_of
from problem import Problem, Setting
from purer_lightning.engine.batched_teachers import AT_ONCE

PAPER = 60000  # meta-updates of the published run
UPDATE = "update, switch off"
SCORES = f"{SCORED} test episodes, ICFIL"
TIMED = ("inversion step", "meta-step", UPDATE, "update, switch on")

SETTINGS = {
    "13 Conv4": Setting(),
    "100 Conv4": Setting(teachers=100),
    "13 ResNet-18 at 84": Setting(architecture="resnet18", teacher_width=64, image_size=84),
    "100 ResNet-18 at 84": Setting(teachers=100, architecture="resnet18", teacher_width=64, image_size=84),
    "tiny": Setting(classes=8, classes_per_teacher=3, images_per_class=4, way=3, query=3, image_size=16, width=4),
}


def steps_measured(engines: Engines, device: torch.device, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return, by part and way, seconds, the ratio to the reference, and how far gradients are from its own."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    apart = {}
    for name in (LOOPED, BATCHED):
        engines.switch(name)
        apart[name] = compare_gradients(engines.problem)
    for part in parts_of(engines.problem):
        if part.name in TIMED:
            found[part.name] = timed(engines.ways(part), device, rounds)
            for name, differences in apart.items():
                if part.name in differences:
                    found[part.name][name]["difference"] = differences[part.name].whole
    return found


def timed(ways: dict[str, Way], device: torch.device, rounds: int) -> dict[str, dict[str, float]]:
    """Return each way's median seconds and its ratio to the reference."""
    taken = in_turn(ways, rounds, clock_of(device))
    faster = ratios(taken, PLAIN)
    return {name: {"seconds": median, "ratio": faster[name]} for name, median in medians(taken).items()}


def gradients_measured(
    problem: Problem, device: torch.device, rounds: int, at_once: int, kinds: list[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return, by gradient and way, what ``steps_measured`` does by part, for ways that the product does not have."""
    problem.restore()
    makers = {"compiled": compiled} | ({"graph": captured} if device.type == "cuda" else {})
    parts: dict[str, dict[str, Way]] = {}
    for layout, memory_format in LAYOUTS.items():
        for part, (reference, batched, given) in gradients_of(problem, at_once, memory_format).items():
            ways = parts.setdefault(part, {PLAIN: reference})
            ways[f"batched, {layout}"] = partial(batched, *given)
            ways |= {
                f"batched, {layout}, {kind}": make(batched, *given) for kind, make in makers.items() if kind in kinds
            }
    return {part: compared(ways, device, rounds) for part, ways in parts.items()}


def compared(ways: dict[str, Way], device: torch.device, rounds: int) -> dict[str, dict[str, float]]:
    """Return what ``timed`` does of ways to the same gradient, and how far each is from the reference's."""
    wanted = ways[PLAIN]().clone()
    differences = {name: compare(wanted, way().clone()).whole for name, way in ways.items()}
    return {name: each | {"difference": differences[name]} for name, each in timed(ways, device, rounds).items()}


def measured(setting: Setting, device: torch.device, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one setting."""
    engines = Engines(setting, device, arguments.at_once)
    steps = steps_measured(engines, device, arguments.rounds)
    update = engines.ways(next(part for part in parts_of(engines.problem) if part.name == UPDATE))
    used = {name: occupancy_of(way, device) for name, way in update.items()}
    memory = {name: peak_of(way, device) for name, way in update.items()}
    given = (engines.problem, device, arguments.rounds, arguments.at_once, arguments.kinds)
    steps[SCORES] = timed(scoring_ways(engines.problem), device, arguments.rounds)
    return {"steps": steps | gradients_measured(*given), "occupancy": used, "peak_mib": memory}


def peak_of(way: Way, device: torch.device) -> float | None:
    """Return the most MiB of the device that a call and all that stays have taken; None on a CPU."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    way()
    return torch.cuda.max_memory_allocated(device) / 2**20


def rows_of(results: dict[str, dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table of times."""
    for setting, found in results.items():
        for part, ways in found["steps"].items():
            for way, each in ways.items():
                apart = f"{each['difference']:.1e}" if "difference" in each else "-"
                rate = f"{1 / each['seconds']:.0f}" if part.startswith("update") else "-"
                yield setting, part, way, f"{1000 * each['seconds']:.2f}", f"{each['ratio']:.1f}", apart, rate


def occupancy_rows(results: dict[str, dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table of where the time of an update goes."""
    for setting, found in results.items():
        for way, used in found["occupancy"].items():
            peak = found["peak_mib"][way]
            memory = "-" if peak is None else f"{peak:.0f}"
            most = ", ".join(f"{name[:40]} {count} x {took / count:.3f}" for name, count, took in used.longest[:1])
            yield setting, way, str(used.launches), f"{used.busy:.1f}", f"{used.gaps:.1f}", memory, most


def table_of(headings: tuple[str, ...], left: int, rows: Iterator[tuple[str, ...]]) -> Table:
    """Return a table whose first columns, and the last if it is words, stand to the left."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number < left or heading == "longest, ms each" else "right")
    for row in rows:
        table.add_row(*row)
    return table


def parsed(words: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="as torch names it; cpu for a look at the script")
    parser.add_argument("--settings", nargs="*", choices=SETTINGS, default=list(SETTINGS)[:3], help="what is timed")
    parser.add_argument("--rounds", type=int, default=20, help="timed rounds, after one that does not count")
    parser.add_argument("--at_once", type=int, default=AT_ONCE, help="engine.teachers_at_once")
    parser.add_argument(
        "--kinds", nargs="*", default=["graph"], help='of the gradients; "compiled" takes minutes to compile'
    )
    parser.add_argument(
        "--tf32", choices=["on", "off"], default="on", help="convolutions in TF32, as PyTorch's default"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu.json", help="the JSON file to write")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    """Time, print two tables, write."""
    arguments = parsed(words)
    torch.backends.cudnn.allow_tf32 = arguments.tf32 == "on"
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU: for a look at the script alone"
    results = {name: measured(SETTINGS[name], device, arguments) for name in arguments.settings}
    machine = describe_machine() | {"torch": torch.__version__, "device": name}
    console = Console(width=140, highlight=False)
    conditions = f"{arguments.rounds} rounds, TF32 {arguments.tf32}, {arguments.at_once} teachers at once"
    console.print(f"{name}; {headline(machine)}; {conditions}; the published run has {PAPER} updates")
    headings = ("setting", "part", "way", "ms", "plain / this", "difference", "a second")
    console.print(table_of(headings, 3, rows_of(results)))
    headings = ("setting", "update by", "launches", "busy ms", "gaps ms", "peak MiB", "longest, ms each")
    console.print(table_of(headings, 2, occupancy_rows(results)))
    for found in results.values():
        found["occupancy"] = {way: asdict(used) for way, used in found["occupancy"].items()}
    write_result(arguments.output, {"machine": machine, "conditions": conditions, "results": results})


if __name__ == "__main__":
    main()
