"""What each measure of the package buys in the inversion step: the plain reference with one, the other and both."""

import argparse
import copy
from functools import partial
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from interleaved import CLOCKS, Clock, in_turn, medians, ratios
from machine import RESULTS, describe_machine, headline, write_result
from plain import PlainTeacher, PlainUpdate
from problem import Problem, Setting
from purer_lightning.compute.memory import keep_freed_memory
from purer_lightning.engine.choice import compiled
from purer_lightning.inversion.gradient import draw_jitter, inversion_gradient
from purer_lightning.nets.statistics import channel_statistics


class ChannelsLast(PlainTeacher):
    """Keeps weights and images with the channels innermost."""

    def __init__(self, network: nn.Module, classes: Tensor) -> None:
        super().__init__(network.to(memory_format=torch.channels_last), classes)  # type: ignore[call-overload]

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return L_EI."""
        return super().loss(images.contiguous(memory_format=torch.channels_last), labels)


class OwnStatistics(PlainTeacher):
    """Takes the statistics, and above all their gradient, by ``channel_statistics``."""

    def _note(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        mean, variance = channel_statistics(inputs[0])
        self.found.append((variance, mean))


class Both(ChannelsLast, OwnStatistics):
    """Both measures, as the package does."""


VARIANTS = {
    "plain": PlainTeacher,
    "channels_last": ChannelsLast,
    "channel_statistics": OwnStatistics,
    "both": Both,
}


def time_variants(setting: Setting, rounds: int, clock: Clock) -> dict[str, list[float]]:
    """Return seconds of the inversion gradient by variant, one after the other in each round."""
    problem = Problem(setting)
    jitter = draw_jitter(setting.seed, 0)
    updates = {}
    for name, kind in VARIANTS.items():
        teachers = [kind(copy.deepcopy(known.network), known.classes) for known in problem.module.pool.teachers]
        updates[name] = PlainUpdate(teachers, problem.plain.bank, problem.plain.theta)
    backend = compiled()
    ways = {name: partial(update.inversion_gradient, jitter) for name, update in updates.items()} | {
        "the compiled engine": lambda: inversion_gradient(
            problem.module.pool.teachers,
            problem.module.synthesis.bank.images,
            jitter,
            problem.module.priors,
            backend=backend,
        )
    }
    return in_turn(ways, rounds, clock)


def main() -> None:
    """Time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: this process's own time, for a machine that others use"
    )
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds, after one that does not count")
    parser.add_argument("--output", type=Path, default=RESULTS / "inversion_step.json", help="the JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()  # as in `purer fit`
    machine = describe_machine() | {"torch": torch.__version__, "threads": arguments.threads}
    seconds = time_variants(Setting(), arguments.rounds, CLOCKS[arguments.clock])
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("inversion gradient", "milliseconds", "plain / this"):
        table.add_column(heading, justify="left" if heading == "inversion gradient" else "right")
    faster = ratios(seconds, "plain")
    for name, taken in medians(seconds).items():
        table.add_row(name, f"{1000 * taken:.1f}", f"{faster[name]:.2f}")
    console = Console(width=100)
    conditions = f"{arguments.threads} thread(s), {arguments.rounds} rounds, {arguments.clock} time"
    console.print(f"{headline(machine)}, {conditions}", highlight=False)
    console.print(table)
    result = {
        "machine": machine,
        "rounds": arguments.rounds,
        "clock": arguments.clock,
        "median_ratio": faster,
        "seconds": seconds,
    }
    write_result(arguments.output, result)


if __name__ == "__main__":
    main()
