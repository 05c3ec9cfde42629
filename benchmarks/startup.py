"""Wall time until the command line answers, in fresh interpreters: median of several starts."""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from machine import RESULTS, describe_machine, headline, write_result

COMMANDS = {
    "purer --help": ["purer", "--help"],
    "purer fit --help": ["purer", "fit", "--help"],
    "python -c 'import purer_lightning'": ["python", "-c", "import purer_lightning"],
}


def main() -> None:
    """Time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="starts of each command, after one that does not count")
    parser.add_argument("--output", type=Path, default=RESULTS / "startup.json", help="the JSON file to write")
    arguments = parser.parse_args()
    machine = describe_machine()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_number in range(arguments.rounds + 1):
        for name, command in COMMANDS.items():
            taken = start(command)
            if round_number > 0:  # the first start fills the disk's cache and may compile to byte code
                seconds[name].append(taken)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("command", "median s", "lowest", "highest"):
        table.add_column(heading, justify="left" if heading == "command" else "right")
    for name, taken_each in seconds.items():
        figures = (statistics.median(taken_each), min(taken_each), max(taken_each))
        table.add_row(name, *(f"{figure:.2f}" for figure in figures))
    console = Console(width=100)
    console.print(f"{headline(machine)}, {arguments.rounds} rounds", highlight=False)
    console.print(table)
    medians = {name: statistics.median(taken_each) for name, taken_each in seconds.items()}
    write_result(arguments.output, {"machine": machine, "median_seconds": medians, "seconds": seconds})


def start(command: list[str]) -> float:
    """Return the wall seconds of one run; the program is looked for beside the running interpreter."""
    program = Path(sys.executable).parent / command[0]
    begin = time.perf_counter()
    subprocess.run([program, *command[1:]], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
