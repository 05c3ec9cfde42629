"""Several ways to do the same, timed in turn in one process; shared by the benchmarks."""

import statistics
import time
from collections.abc import Callable, Mapping

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


def seconds_of(work: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Return the time of one call."""
    begin = clock()
    work()
    return clock() - begin


def in_turn(
    ways: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Return each way's seconds by round; they follow one another, and the first in a round changes.

    One round before those that count fills caches and makes optimisers' states.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, rounds):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            taken = seconds_of(ways[name], clock)
            if number >= 0:
                seconds[name].append(taken)
    return seconds


def ratios(seconds: Mapping[str, list[float]], reference: str) -> dict[str, float]:
    """Return how many times its time the reference took: the median over rounds, in which both ran side by side."""
    return {
        name: statistics.median(plain / own for plain, own in zip(seconds[reference], taken, strict=True))
        for name, taken in seconds.items()
    }


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """Return the median seconds of each way."""
    return {name: statistics.median(taken) for name, taken in seconds.items()}
