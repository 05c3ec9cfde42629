"""Episodes of evaluation, MAML and ICFIL: plain ones in turn, the package's way, and by as many processes as cores."""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from interleaved import CLOCKS, in_turn, medians, ratios
from machine import RESULTS, describe_machine, headline, write_result
from purer_lightning.compute.backend import PLAIN
from purer_lightning.data.real_episodes import AT_ONCE
from purer_lightning.engine import choice
from purer_lightning.episode import Episode, labels_in_order
from purer_lightning.evaluation import IcfilEvaluation
from purer_lightning.evaluation.icfil import CalibrationSettings, calibrate
from purer_lightning.learners.base import Learner
from purer_lightning.learners.maml import Maml
from purer_lightning.seeding import generator

WAY, SHOT, QUERY, SIZE = 5, 1, 15, 32
_learner: Learner  # of a worker process


def make_learner(*, compiled: bool) -> Learner:
    """Return an untrained Conv4 as MAML; in contiguous memory where it is not compiled, as the reference is."""
    learner = Maml()
    learner.build(WAY, 3, SIZE, 0, choice.compiled() if compiled else PLAIN)
    learner.eval()
    if not compiled:
        learner.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return learner


def episode(number: int) -> Episode:
    """Return an episode of noise; what images show does not change what they cost."""
    rng = generator(0, "benchmark episode", number)
    support, query = (torch.randn(WAY * count, 3, SIZE, SIZE, generator=rng) for count in (SHOT, QUERY))
    return Episode(support, labels_in_order(WAY, SHOT), query, labels_in_order(WAY, QUERY), number)


def scored(learner: Learner, number: int) -> tuple[Tensor, Tensor]:
    """Return the query logits of one episode, adapted and calibrated: what an evaluation takes accuracies of."""
    task = episode(number)
    fast = learner.adapt(learner.frozen_weights(), task.support, task.support_labels)
    settings = CalibrationSettings()
    calibrated = calibrate(learner, fast, task.support, task.support_labels, settings, 0, number)
    with torch.no_grad():
        return learner.logits(task.query, fast), learner.logits(task.query, calibrated)


def evaluate(learner: Learner, numbers: list[int]) -> None:
    """Score episodes as ``purer test`` does, in its batches: as many side by side as torch has threads."""
    evaluation = IcfilEvaluation(learner)
    batches = [numbers[begin : begin + AT_ONCE] for begin in range(0, len(numbers), AT_ONCE)]
    for place, batch in enumerate(batches):
        evaluation.test_step([episode(number) for number in batch], place)


def start_worker() -> None:
    """Make a worker's own learner, on one thread."""
    global _learner  # noqa: PLW0603  a process's own, made once
    torch.set_num_threads(1)
    _learner = make_learner(compiled=True)


def evaluate_share(numbers: list[int]) -> None:
    """Score a worker's share of the episodes."""
    evaluate(_learner, numbers)


def differences(plain: Learner, compiled: Learner) -> dict[str, float]:
    """Return how far the logits of both engines are apart on one episode, relative, in both precisions."""
    found = {}
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        torch.set_default_dtype(dtype)
        one, other = (scored(learner.to(dtype), 0)[1] for learner in (plain, compiled))
        found[name] = float((one - other).norm() / one.norm())
        torch.set_default_dtype(torch.float32)
        plain.float(), compiled.float()
    return found


def time_ways(arguments: argparse.Namespace) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return seconds of all episodes by way and round, and how far the results differ."""
    plain, compiled = make_learner(compiled=False), make_learner(compiled=True)
    apart = differences(plain, compiled)
    workers = arguments.processes
    numbers = list(range(arguments.episodes))
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=start_worker) as pool:

        def in_processes() -> None:
            list(pool.map(evaluate_share, [numbers[worker::workers] for worker in range(workers)]))

        ways = {
            "plain, one at a time": lambda: [scored(plain, number) for number in numbers],
            "compiled, purer test": lambda: evaluate(compiled, numbers),
            f"compiled, {workers} processes": in_processes,
        }
        return in_turn(ways, arguments.rounds, CLOCKS["wall"]), apart


def main() -> None:
    """Time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads of the ways in one process")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="as trainer.devices of purer test")
    parser.add_argument("--episodes", type=int, default=8, help="episodes a round")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds, after one that does not count")
    parser.add_argument("--output", type=Path, default=RESULTS / "evaluation.json", help="the JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    machine = describe_machine() | {"torch": torch.__version__}
    seconds, apart = time_ways(arguments)
    reference = next(iter(seconds))
    times, faster = medians(seconds), ratios(seconds, reference)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("ICFIL evaluation", "ms an episode", "plain / this"):
        table.add_column(heading, justify="left" if heading == "ICFIL evaluation" else "right")
    for name, taken in times.items():
        table.add_row(name, f"{1000 * taken / arguments.episodes:.1f}", f"{faster[name]:.2f}")
    console = Console(width=100, highlight=False)
    console.print(f"{headline(machine)}, {arguments.threads} thread(s), {arguments.rounds} rounds")
    console.print(table)
    console.print("logits of the two engines differ by " + ", ".join(f"{v:.1e} ({k})" for k, v in apart.items()))
    result: dict[str, Any] = {name: value for name, value in vars(arguments).items() if name != "output"}
    write_result(
        arguments.output,
        {"machine": machine, "conditions": result, "seconds": seconds, "median_ratio": faster, "differences": apart},
    )


if __name__ == "__main__":
    main()
