"""One meta-update on a GPU by several ways: the reference, the package, batches, compiled, and captured as a graph."""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

import batched
from machine import RESULTS, describe_machine, headline, write_result
from parts import compare, flat
from problem import Problem, Setting
from purer_lightning.inversion.synthesis import draw_jitter, inversion_gradient
from purer_lightning.objectives.gradient import meta_gradient

PAPER = 60000  # meta-updates of the published run
Way = Callable[[], Any]


def seconds_of(way: Way, device: torch.device) -> float:
    """Return the time until a call's work on the device is done."""
    synchronise(device)
    begin = time.perf_counter()
    way()
    synchronise(device)
    return time.perf_counter() - begin


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def moved(problem: Problem, device: torch.device) -> Problem:
    """Move both paths' tensors to the device, before anything is attached."""
    module, plain = problem.module, problem.plain
    module.bank.to(device)
    module.learner.to(device)
    plain.bank = plain.bank.detach().to(device).requires_grad_()
    plain.theta = [theta.detach().to(device).requires_grad_() for theta in plain.theta]
    for teacher in plain.teachers:
        teacher.network.to(device)
    for known in module.pool.teachers:
        known.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return problem


def captured(way: Way) -> Way:
    """Return the replay of a way as one CUDA graph: launched once, whatever it consists of."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            way()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = way()

    def replay() -> Any:
        graph.replay()
        return kept

    return replay


def ways_of(problem: Problem, device: torch.device, kinds: list[str]) -> dict[str, dict[str, Way]]:
    """Return the ways to compute both gradients, by part."""
    module, plain = problem.module, problem.plain
    plan, jitter = problem.data.plan(0).meta_batch, draw_jitter(module.seed, 0)
    groups = batched.stacks([t.network for t in plain.teachers], [t.classes.to(device) for t in plain.teachers])

    def inversion() -> Tensor:
        return batched.inversion_gradient(groups, plain.bank, jitter)

    def product_inversion() -> Tensor:
        return inversion_gradient(module.pool.teachers, module.bank.images, jitter, module.inversion)[1]

    def product_meta() -> Tensor:
        return meta_gradient(module.objective, module.learner, module.bank, plan).gradient

    def meta() -> Tensor:
        return flat(tuple(batched.meta_gradient(plain.theta, plain.bank, plan)))

    parts = {
        "inversion gradient": {
            "plain": lambda: plain.inversion_gradient(jitter),
            "the package": product_inversion,
            "batched": inversion,
        },
        "meta-gradient": {
            "plain": lambda: flat(plain.meta_gradient(plan)),
            "the package": product_meta,
            "batched": meta,
        },
    }
    for ways, batch in zip(parts.values(), (inversion, meta), strict=True):
        if "compiled" in kinds:
            ways["batched, compiled"] = torch.compile(batch, dynamic=False)
        if "graph" in kinds and device.type == "cuda":
            ways["batched, CUDA graph"] = captured(batch)
    return parts


def measured(setting: Setting, device: torch.device, kinds: list[str], rounds: int) -> dict[str, dict[str, Any]]:
    """Return, by part and way, median seconds and the difference from the reference's gradient."""
    problem = moved(Problem(setting), device)
    found: dict[str, dict[str, Any]] = {}
    for part, ways in ways_of(problem, device, kinds).items():
        reference = ways["plain"]().clone()
        found[part] = {}
        for name, way in ways.items():
            apart = compare(reference, way().clone())
            seconds = [seconds_of(way, device) for _ in range(rounds)]
            found[part][name] = {"seconds": statistics.median(seconds), "difference": apart.whole}
    return found


def table_of(results: dict[str, dict[str, dict[str, Any]]]) -> Table:
    """Return the table that is printed; the last column is what a whole update of the fastest ways comes to."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("setting", "part", "way", "ms", "plain / this", "difference", "updates a second"):
        table.add_column(heading, justify="left" if heading in ("setting", "part", "way") else "right")
    for setting, parts in results.items():
        for part, ways in parts.items():
            for name, each in ways.items():
                faster = ways["plain"]["seconds"] / each["seconds"]
                shown = (f"{1000 * each['seconds']:.2f}", f"{faster:.1f}", f"{each['difference']:.1e}", "")
                table.add_row(setting, part, name, *shown)
        best = sum(min(each["seconds"] for each in ways.values()) for ways in parts.values())
        table.add_row(setting, "both", "the fastest", f"{1000 * best:.2f}", "", "", f"{1 / best:.0f}")
    return table


def main() -> None:
    """Time, print one table, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="as torch names it")
    parser.add_argument("--rounds", type=int, default=20, help="timed calls")
    parser.add_argument("--teachers", type=int, nargs="*", default=[13, 100], help="sizes of the pool, random Conv4")
    parser.add_argument("--kinds", nargs="*", default=["compiled", "graph"], help="beside plain and batched")
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu.json", help="the JSON file to write")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU: for a look at the script alone"
    results = {
        f"{count} teachers": measured(Setting(classes=5 * count - 1), device, arguments.kinds, arguments.rounds)
        for count in arguments.teachers
    }
    machine = describe_machine() | {"torch": torch.__version__, "device": name}
    console = Console(width=120, highlight=False)
    console.print(f"{name}; {headline(machine)}; {arguments.rounds} rounds; {PAPER} updates are the published run")
    console.print(table_of(results))
    write_result(arguments.output, {"machine": machine, "results": results})


if __name__ == "__main__":
    main()
