"""The real CIFAR-FS experiments, from the archive to result files. `make real` calls it, and then `make tables`.

.venv/bin/python experiments/run.py --source ../shared/data/cifar100.zip [--only NAME ...] [--shots 1]

What is there already is not done again, so an interrupted run goes on where it was. Two jobs at a time, one thread
each: on small convolutions that is faster than one job with two threads.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import NamedTuple

from purer_lightning.errors import PurerError, nearest
from purer_lightning.running.names import COMMIT, CONFIG, METRICS, OF_FIT, RESULTS, SUMMARY, TIMES
from rows import REPEATS, ROWS, SHOTS, Fit, Row

ROOT = Path(__file__).resolve().parents[1]
AT_A_TIME = 2
CODE = ("src", "experiments/*.py", "pyproject.toml")  # what a result depends on


class Job(NamedTuple):
    """Something to do, and the job that must have ended before."""

    name: str
    do: Callable[[], None]
    after: str | None = None


def code_state(root: Path = ROOT) -> str:
    """Return the commit, with "-dirty" where code that git knows differs from it; "unknown" outside a repository.

    Results and pages, which a run writes itself, are no code.
    """

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", *CODE)
    return (git("describe", "--always") or "unknown") + ("-dirty" if changed else "")


class Runner:
    """Calls the command ``purer`` for fits and tests, and keeps what they leave behind.

    Args:
        root: where ``runs`` and ``experiments/results`` are; the commands run there, so that results name no place of
            this machine.
        purer: the command.
    """

    def __init__(self, root: Path, purer: str) -> None:
        self.root, self.purer = root, purer

    def call(self, words: Sequence[str]) -> None:
        """Run ``purer`` with these words and one thread.

        Raises:
            PurerError: it failed; its own sentence has been printed.
        """
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        if subprocess.run([self.purer, *words], cwd=self.root, env=environment, check=False).returncode != 0:
            raise PurerError(
                f"'purer {shlex.join(words)}' failed, its reason stands above; mend it and start again: what is done "
                f"is not done again."
            )

    def results(self, name: str) -> Path:
        """Return the folder of results of a fit or test, made if need be."""
        folder = self.root / "experiments" / "results" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def fit(self, fit: Fit) -> None:
        """Meta-train, and keep what the tables need."""
        self.train(fit)
        self.keep(self.root / "runs" / fit.name)

    def train(self, fit: Fit) -> None:
        """Meta-train into ``runs/NAME``, or go on where an interrupted run has saved last."""
        run = self.root / "runs" / fit.name
        if not (run / SUMMARY).exists():
            words = ["fit", *fit.words(), "--run", f"runs/{fit.name}", "--trainer.enable_progress_bar", "false"]
            if (run / "checkpoints").exists():
                words += ["--ckpt_path", "last"]
            else:
                shutil.rmtree(run, ignore_errors=True)
            run.mkdir(parents=True, exist_ok=True)
            with (run / COMMIT).open("a") as commits:  # a line for each start
                commits.write(f"{code_state(self.root)}\n")
            self.call(words)

    def keep(self, run: Path) -> None:
        """Copy a finished fit's files to its folder of results."""
        folder = self.results(run.name)
        for file in (run / SUMMARY, run / TIMES, run / METRICS):
            if file.exists():
                shutil.copy(file, folder)
        for name in (COMMIT, CONFIG):  # tests have files of these names
            if (run / name).exists():
                shutil.copy(run / name, folder / f"{OF_FIT}{name}")

    def is_tested(self, row: Row, shot: int) -> bool:
        """Tell whether results.json, which is written last, is there."""
        return (self.root / "experiments" / "results" / row.folder(shot) / "test" / RESULTS).exists()

    def test(self, row: Row, shot: int) -> None:
        """Score on the fixed meta-test episodes; keeps results.json, episodes.csv, config.yaml and the commit."""
        name = row.folder(shot)
        (self.results(name) / COMMIT).write_text(f"{code_state(self.root)}\n")
        run = ["--run", f"experiments/results/{name}", "--trainer.enable_progress_bar", "false"]
        self.call(["test", *row.words(shot), *run])

    def jobs(self, rows: Sequence[Row], shots: Sequence[int] = SHOTS) -> list[Job]:
        """Return what is left to do: the tests that are not there, each fit that one of them needs before them."""
        missing = [(row, shot) for row in rows for shot in shots if not self.is_tested(row, shot)]
        jobs: dict[str, Job] = {}
        for row, shot in missing:
            fit = row.fits.get(shot)
            after = f"fit {fit.name}" if fit else None
            if fit and after:
                jobs.setdefault(after, Job(after, partial(self.fit, fit)))
            name = f"test {row.folder(shot)}"
            jobs[name] = Job(name, partial(self.test, row, shot), after)
        return list(jobs.values())


def timed(job: Job) -> None:
    """Do a job and say when it begins and ends."""
    print(f"{job.name}: begins", flush=True)
    began = time.monotonic()
    job.do()
    print(f"{job.name}: ended after {(time.monotonic() - began) / 60:.1f} minutes", flush=True)


def run_all(jobs: Sequence[Job], at_a_time: int = AT_A_TIME) -> None:
    """Run jobs side by side, each after the one that it names, in their order.

    Raises:
        PurerError: one or more failed. No other is begun then, and those that are running are waited for.
    """
    waiting, running, failures = list(jobs), dict[Future[None], Job](), list[str]()
    with ThreadPoolExecutor(at_a_time) as pool:
        while waiting or running:
            unfinished = {job.name for job in (*waiting, *running.values())}
            ready = [job for job in waiting if job.after not in unfinished]
            for job in ready[: at_a_time - len(running)]:
                waiting.remove(job)
                running[pool.submit(timed, job)] = job
            for ended in wait(running, return_when=FIRST_COMPLETED).done:
                job, error = running.pop(ended), ended.exception()
                if error is not None:
                    failures.append(f"{job.name}: {error}")
                    waiting.clear()
    if failures:
        raise PurerError("\n".join(sorted(failures)))


def chosen_rows(names: Sequence[str] | None) -> list[Row]:
    """Return the rows of these names, all for None.

    Raises:
        PurerError: there is none of that name.
    """
    known = {row.name: row for row in (*ROWS, *REPEATS.values())}
    for name in names or ():
        if name not in known:
            raise PurerError(f"There is no row '{name}', only {', '.join(known)}.{nearest(name, known)}")
    return [row for name, row in known.items() if names is None or name in names]


def command() -> str:
    """Return the command ``purer``: what PURER names, or the one beside this Python.

    Raises:
        PurerError: it is not there.
    """
    named = os.environ.get("PURER", str(Path(sys.executable).with_name("purer")))
    purer = shutil.which(named)
    if purer is None:
        raise PurerError(f"There is no command '{named}'; run make test once, or set PURER.")
    return str(Path(purer).absolute())


def main(words: Sequence[str] | None = None) -> None:
    """Prepare the data and the pool, then fit and test what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="the CIFAR-FS archive")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help=f"of {', '.join(row.name for row in ROWS)}; NAME_seed1, ..."
    )
    parser.add_argument("--shots", nargs="+", type=int, choices=SHOTS, default=SHOTS, help="of the tests; all")
    given = parser.parse_args(words)
    try:
        rows, runner = chosen_rows(given.only), Runner(ROOT, command())
        runner.call(["data", "prepare", "cifar_fs", "--source", str(Path(given.source).resolve()), "--root", "data"])
        for config in dict.fromkeys(row.pool_config for row in rows):
            runner.call(["pretrain", "--config", config])
        run_all(runner.jobs(rows, given.shots))
    except PurerError as error:
        sys.exit(f"experiments/run.py: {error}")


if __name__ == "__main__":
    main()
