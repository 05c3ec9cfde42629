"""Accuracy over episodes: mean and 95 % interval, from the episodes of all ranks; and how a row is logged."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from lightning import Trainer
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

PLAIN, ICFIL = "plain", "icfil"  # methods by which a learner is scored: without calibration, with it
Z95 = 1.959963984540054  # the normal 97.5 % quantile: two-sided 95 %


class Interval(NamedTuple):
    """A mean over episodes with the half-width of its 95 % interval.

    ``ci95`` is 1.96 times the sample standard deviation (ddof 1) over the square root of the number of episodes. It
    speaks of the draw of episodes from these classes, not of other classes or training seeds.
    """

    mean: float
    ci95: float
    episodes: int


def interval(values: Tensor) -> Interval:
    """Return mean and 95 % interval of one value an episode, (episodes,); infinite for a single episode.

    JSON knows no infinity: results.json has null in its place.
    """
    values = values.double()
    count = len(values)
    half = Z95 * values.std(correction=1).item() / count**0.5 if count > 1 else float("inf")
    return Interval(values.mean().item(), half, count)


def summarise(by_method: dict[str, Tensor], report_at: list[int]) -> list[dict[str, Any]]:
    """Summarise per-episode accuracies at several numbers of episodes, each a prefix of the same list.

    Args:
        by_method: accuracies (episodes,) in the order of episode ids; "plain" and perhaps "icfil".
        report_at: numbers of episodes; those above the list's length are left out, the whole list is always in.

    Returns:
        For each number: the interval by method and, with ICFIL, that of the paired difference ICFIL - plain.
    """
    total = len(by_method[PLAIN])
    rows = []
    for count in sorted({n for n in report_at if n < total} | {total}):
        row: dict[str, Any] = {"episodes": count}
        for method, accuracies in by_method.items():
            row[method] = interval(accuracies[:count])._asdict()
        if ICFIL in by_method:
            difference = by_method[ICFIL][:count] - by_method[PLAIN][:count]
            row["icfil_minus_plain"] = interval(difference)._asdict()
        rows.append(row)
    return rows


def null_for_infinite(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of ``summarise`` with None for the infinite ``ci95`` of one episode: JSON has no infinity."""
    return [
        {
            name: value | {"ci95": None} if isinstance(value, dict) and math.isinf(value["ci95"]) else value
            for name, value in row.items()
        }
        for row in rows
    ]


def log_row(trainer: Trainer, values: Mapping[str, Tensor | float], every: int = 1) -> None:
    """Log what belongs to the update just made, as one row of every logger, at once.

    Lightning's (2.6) own way would repeat the last value of each name in all later rows of an epoch, also where there
    is none, and would write the row after the checkpoints that are saved at the update's end.

    Args:
        trainer: knows the loggers and the number of updates.
        values: scalars by name.
        every: log each so many updates, 0 for none.
    """
    if trainer.sanity_checking or every == 0 or trainer.global_step % every:
        return
    row = {name: float(value) for name, value in values.items()}
    for logger in trainer.loggers:
        logger.log_metrics(row, step=trainer.global_step - 1)


class EpisodeAccuracy(Metric):
    """Collects (episode id, accuracy) and computes them once, sorted by id and each id once, over all ranks."""

    full_state_update = False
    ids: list[Tensor]
    accuracies: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("ids", default=[], dist_reduce_fx="cat")
        self.add_state("accuracies", default=[], dist_reduce_fx="cat")

    def update(self, episode: int, accuracy: Tensor) -> None:
        """Take in one episode's accuracy, scalar in 0 to 1."""
        # Lists of one growing tensor: thousands of small ones would lie between the large ones that an adaptation
        # frees and keep them from being used again.
        self.ids = [torch.cat([*self.ids, torch.tensor([episode], device=accuracy.device)])]
        self.accuracies = [torch.cat([*self.accuracies, accuracy.detach().reshape(1)])]

    def per_episode(self) -> tuple[Tensor, Tensor]:
        """Return what ``compute`` does, without the base class's habit of making a scalar of one element."""
        ids, accuracies = self.compute()
        return ids.reshape(-1), accuracies.reshape(-1)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the ids, ascending, and their accuracies, both (episodes,)."""
        ids, accuracies = dim_zero_cat(self.ids), dim_zero_cat(self.accuracies)
        order = torch.argsort(ids, stable=True)
        ids, accuracies = ids[order], accuracies[order]
        first = torch.ones_like(ids, dtype=torch.bool)
        first[1:] = ids[1:] != ids[:-1]
        return ids[first], accuracies[first]


def in_words(row: Mapping[str, Any]) -> str:
    """Return the intervals of a row of results.json as one line, in %; what else it says is its number of episodes."""
    shown = [
        f"{name.replace('_', ' ')} {100 * own['mean']:.1f} ± {100 * own['ci95']:.1f} %"
        for name, own in row.items()
        if name != "episodes"
    ]
    return f"{row['episodes']:,} episodes: {', '.join(shown)}"
