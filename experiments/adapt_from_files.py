"""Runs `purer adapt` on picture files of CIFAR-FS's meta-test classes and prints what is kept in adapt_from_files.md.

OMP_NUM_THREADS=1 .venv/bin/python experiments/adapt_from_files.py RUN [DRAWS] > experiments/adapt_from_files.md
"""

import contextlib
import csv
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from formatting import markdown, percent
from purer_lightning import load
from purer_lightning.cli import main
from purer_lightning.cli.examples import write_examples
from purer_lightning.data.splits import ImageSplit, open_split
from purer_lightning.evaluation.metrics import interval
from purer_lightning.running.names import PREDICTIONS
from run import code_state

QUERY = 100  # pictures a class, of 5 classes with 5 support pictures each


def run_command(run: str, folder: Path) -> tuple[float, float]:
    """Call ``purer adapt`` on the folders in ``folder``; return the accuracy in its CSV and the processor's seconds."""
    places = ["--support", str(folder / "support"), "--query", str(folder / "query")]
    started = time.process_time()
    with contextlib.redirect_stdout(sys.stderr):
        main(["adapt", "--ckpt_path", run, *places, "--output", str(folder / PREDICTIONS)])
    seconds = time.process_time() - started
    with (folder / PREDICTIONS).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return sum(row["label"] == row["folder"] for row in rows) / len(rows), seconds


def steps(run: str, folder: Path) -> Iterator[tuple[str, float]]:
    """Yield each step of the same in Python with the processor's seconds that it takes."""
    clock = time.process_time
    started = clock()
    model = load(run)
    yield "load the meta-model", clock() - started
    files = {part: sorted((folder / part).glob("*/*.png")) for part in ("support", "query")}
    started = clock()
    support, query = (model.read(files[part]) for part in ("support", "query"))
    yield f"read {len(support) + len(query)} picture files", clock() - started
    started = clock()
    classifier = model.adapt(support, [file.parent.name for file in files["support"]])
    yield f"adapt to {len(support)} pictures, temperature included", clock() - started
    started = clock()
    classifier.predict(query)
    yield f"predict {len(query)} pictures", clock() - started


def report(run: str, draws: int = 30) -> None:
    """Print accuracy and time, then the command and the commit that printed them."""
    state = code_state()
    split: ImageSplit = open_split("data", "cifar_fs", "test")
    accuracies, seconds = [], []
    for draw in range(draws):
        with tempfile.TemporaryDirectory() as folder:
            write_examples(split, Path(folder), seed=draw, query=QUERY)
            accuracy, taken = run_command(run, Path(folder))
            accuracies.append(accuracy)
            seconds.append(taken)
            timed = list(steps(run, Path(folder)))
    found = percent(interval(torch.tensor(accuracies))._asdict())
    print(
        f"`purer adapt` with `{run}` on files of meta-test, 5 classes with 5 pictures each, {QUERY} queries a class.\n"
    )
    print(f"Accuracy over {draws} draws of classes and pictures: {found} %.\n")
    lines = [[f"the whole command, imports left out (median of {draws})", f"{sorted(seconds)[draws // 2]:.2f}"]]
    lines += [[f"in Python: {name}", f"{taken:.3f}"] for name, taken in timed]
    print(markdown(["step", "processor seconds, one thread"], lines))
    print(f"\nPrinted by `OMP_NUM_THREADS=1 .venv/bin/python {shlex.join(sys.argv)}` at commit {state}.")


if __name__ == "__main__":
    report(sys.argv[1], *map(int, sys.argv[2:3]))
