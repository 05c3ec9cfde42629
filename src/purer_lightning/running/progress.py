"""Progress of a long job: a bar in a terminal, a plain line from time to time elsewhere."""

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

PLAIN_SECONDS = 30.0  # between two lines of a log: often enough to see that a job lives, 120 lines an hour
TERMINAL_SECONDS = 0.2  # between two looks at the facts, which may have to be fetched from a GPU


class JobProgress:
    """One job's bar, to be used as a context; or its lines, in a file, a pipe or a log of Slurm.

    Args:
        title: what is done.
        unit: what is counted, in the plural.
        total: how many there are; None where nobody knows.
        done: how many were there before.
        enabled: False shows nothing.
        console: where to write; standard output when None.
        every: seconds between two plain lines; ``PLAIN_SECONDS`` when None.
    """

    def __init__(
        self,
        title: str,
        unit: str,
        total: int | None,
        *,
        done: int = 0,
        enabled: bool = True,
        console: Console | None = None,
        every: float | None = None,
    ) -> None:
        self.title, self.unit, self.total, self.done = title, unit, total, done
        self.every = PLAIN_SECONDS if every is None else every
        self._console = console or Console()
        self._start_done, self._started = done, time.monotonic()
        self._looked = self._said = self._started
        self._said_done, self._facts = done, ""
        self._enabled = enabled
        self._bar: _Bar | None = None
        if enabled and self._console.is_interactive:
            self._bar = _Bar(*_columns(), console=self._console)
            self._task = self._bar.add_task(title, total=total, completed=done)
            self._bar.start()

    def advance_to(self, done: int, facts: Callable[[], str] = str) -> None:
        """Say how many are done.

        Args:
            done: so far, those of before included.
            facts: asked for what else matters, but only when it will be shown.
        """
        self.done = done
        if not self._enabled:
            return
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
            if now - self._looked >= TERMINAL_SECONDS or done == self.total:
                self._looked, self._bar.facts = now, facts()
        elif now - self._said >= self.every:
            self._facts = facts()
            self._say(now)
        elif done == self.total:
            self._facts = facts()

    def say(self, line: str) -> None:
        """Write a line: above the bar where there is one."""
        if self._enabled:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the bar as it is; without one, write the last line, unless it has just been written."""
        if self._bar is not None:
            self._bar.stop()
        elif self._enabled and self.done > self._said_done:
            self._say(time.monotonic())
        self._enabled = False

    def _say(self, now: float) -> None:
        self._said, self._said_done = now, self.done
        of = "" if self.total is None else f" of {self.total:,}"
        took = f"{duration(now - self._started)} so far" if self.done != self.total else duration(now - self._started)
        parts = [f"{self.title}: {self.done:,}{of} {self.unit}", self._facts, took, self._left(now)]
        self.say(", ".join(part for part in parts if part))

    def _left(self, now: float) -> str:
        own = self.done - self._start_done
        if self.total is None or own <= 0 or self.done >= self.total:
            return ""
        return f"{duration((now - self._started) * (self.total - self.done) / own)} left"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def duration(seconds: float) -> str:
    """Return a time in words, in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class _Bar(Progress):
    """Rich's bar with a line of facts below it, which a narrow terminal can wrap."""

    facts = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.facts:
            yield Text(f"  {self.facts}", style="dim")


def _columns() -> tuple[TextColumn, BarColumn, MofNCompleteColumn, TimeElapsedColumn, TextColumn, TimeRemainingColumn]:
    left = TextColumn("left")
    return (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        left,
        TimeRemainingColumn(),
    )
