"""Where the time of a call goes on a device: what it launches, how long that runs, and the gaps in between."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

MOST = 5  # of the kernels that took longest


@dataclass
class Occupancy:
    """What the profiler saw of one call.

    Attributes:
        launches: kernels and copies on the device; on a CPU, operations that no other has called.
        busy: milliseconds in which at least one of them ran.
        span: milliseconds from the first one's begin to the last one's end.
        longest: name, launches and milliseconds of those that took most of the time together.
    """

    launches: int
    busy: float
    span: float
    longest: list[tuple[str, int, float]]

    @property
    def gaps(self) -> float:
        """Milliseconds in which nothing ran."""
        return self.span - self.busy


def occupancy_of(work: Callable[[], object], device: torch.device) -> Occupancy:
    """Profile one call; the profiler itself widens the gaps, since it slows down what launches."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities) as found:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    events = [event for event in found.events() or [] if counts(event, device)]
    spans = [(event.time_range.start, event.time_range.end) for event in events]
    span = max(end for _, end in spans) - min(begin for begin, _ in spans)
    return Occupancy(len(events), covered(spans) / 1000, span / 1000, longest(events))


def counts(event: Any, device: torch.device) -> bool:
    """Whether the profiler's event is work of the device itself."""
    if event.is_user_annotation:
        return False
    if device.type == "cuda":
        return bool(event.device_type.name == "CUDA")
    called_by = event.cpu_parent.name if event.cpu_parent else ""
    return event.name.startswith("aten::") and not called_by.startswith("aten::")


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of (begin, end) spans."""
    total, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def longest(events: Iterable[Any]) -> list[tuple[str, int, float]]:
    """Return name, number and milliseconds of the kinds of work that took longest, the longest first."""
    kinds: dict[str, list[float]] = {}
    for event in events:
        kinds.setdefault(event.name, []).append(event.time_range.elapsed_us() / 1000)
    rows = [(name, len(each), sum(each)) for name, each in kinds.items()]
    return sorted(rows, key=lambda row: -row[2])[:MOST]
