"""The episode, as a value: what a learner is given, whether its images are real or pseudo."""

from typing import NamedTuple

import torch
from torch import Tensor


class Episode(NamedTuple):
    """One few-shot task in normalised pixel space. Rows are ordered by label, then by shot or query.

    Attributes:
        support: float, (way * shot, C, H, W).
        support_labels: int64, (way * shot,), values 0 to way - 1.
        query: float, (way * query, C, H, W).
        query_labels: int64, (way * query,), values 0 to way - 1.
        id: number of the episode in its list; the key by which results of several methods are paired.
    """

    support: Tensor
    support_labels: Tensor
    query: Tensor
    query_labels: Tensor
    id: int

    @property
    def way(self) -> int:
        """Number of classes; labels are 0 to way - 1 by construction."""
        return int(self.support_labels[-1]) + 1


class EpisodePlan(NamedTuple):
    """Which slots of a class-wise image store make up the episodes of one meta-update.

    Attributes:
        classes: int64, (episodes, way): positions of classes in the store; label = column.
        slots: int64, (episodes, way, shot + query): positions of images within their class; all distinct in a row.
        shot: how many of the slots, counted from the left, are support.
        update: the meta-update for which the plan was drawn.
    """

    classes: Tensor
    slots: Tensor
    shot: int
    update: int

    def episodes(self) -> "list[EpisodePlan]":
        """Return the plans of the single episodes, in order."""
        pairs = zip(torch.split(self.classes, 1), torch.split(self.slots, 1), strict=True)
        return [EpisodePlan(classes, slots, self.shot, self.update) for classes, slots in pairs]


def draw_plan(
    images_per_class: Tensor, episodes: int, way: int, shot: int, query: int, update: int, rng: torch.Generator
) -> EpisodePlan:
    """Draw ``way`` distinct classes an episode and ``shot + query`` distinct images a class, all equally likely.

    Args:
        images_per_class: int64, (classes,): how many images each class of the store holds.
        episodes: number of episodes.
        way: classes an episode.
        shot: support images a class.
        query: query images a class.
        update: recorded in the plan.
        rng: the source of the draw.
    """
    classes = torch.stack([torch.randperm(len(images_per_class), generator=rng)[:way] for _ in range(episodes)])
    slots = torch.stack(
        [
            torch.stack([torch.randperm(int(n), generator=rng)[: shot + query] for n in images_per_class[row]])
            for row in classes
        ]
    )
    return EpisodePlan(classes, slots, shot, update)


def labels_in_order(way: int, images: int) -> Tensor:
    """Return the labels of rows ordered by class: ``0 * images, 1 * images, ...``, int64, (way * images,)."""
    return torch.arange(way).repeat_interleave(images)
