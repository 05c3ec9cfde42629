"""The data step's gradient with many teachers in one batch: for devices that a loop of small launches leaves idle.

Behind the interface of ``inversion.synthesis.inversion_gradient``, which is the definition; equal to rounding.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import vmap

from purer_lightning.compute.backend import PLAIN, Backend
from purer_lightning.compute.ranks import ALONE, Ranks
from purer_lightning.engine.grouped import Grouped, Structure, head, stacked, structure_of
from purer_lightning.inversion.gradient import ClassTeacher
from purer_lightning.inversion.loss import Terms, weighted_terms
from purer_lightning.inversion.priors import Prior, Seen
from purer_lightning.nets.functional import Weights, running_statistics
from purer_lightning.nets.statistics import Statistics

AT_ONCE = 16  # more make fewer launches, and keep more activations; not measured


class Batch(NamedTuple):
    """Teachers of one structure, side by side.

    Attributes:
        numbers: which of the teachers asked they are.
        grouped: their structure.
        weights: copies of theirs, each with the teachers in front.
        wanted: what their BatchNorm layers remember, each (teachers, channels); empty without BatchNorm.
        classes: int64, (teachers, outputs): of which class of the pool each output is.
    """

    numbers: list[int]
    grouped: Grouped
    weights: Weights
    wanted: Statistics
    classes: Tensor


class BatchedTeachers:
    """Computes ``inversion_gradient`` in batches of teachers that have one structure, the number of classes with it.

    Every term of the loss, norms and BatchNorm statistics too, is each teacher's own.

    Args:
        at_once: how many teachers a batch has at most, and so how many graphs are alive; at least 1.
        keep: whether copies of the weights stay until other teachers are asked. Not where teachers are read from disk:
            then networks and copies of ``at_once`` teachers of each structure are in memory.
    """

    def __init__(self, at_once: int = AT_ONCE, keep: bool = True) -> None:
        self.at_once, self.keep = at_once, keep
        self._asked: list[ClassTeacher] = []
        self._batches: list[Batch] = []
        self._places = torch.empty(0)

    def __call__(
        self,
        teachers: Sequence[ClassTeacher],
        images: Tensor,
        jitter: tuple[int, int],
        priors: Sequence[Prior],
        ranks: Ranks = ALONE,
        classes: Tensor | None = None,
        backend: Backend = PLAIN,
    ) -> tuple[Terms, Tensor]:
        """Return the terms summed over teachers, and the gradient; all as in ``inversion_gradient``.

        Each rank batches its share of the teachers. How many are in a batch may change how it rounds: another number of
        ranks gives the same run to rounding, no longer to the bit.
        """
        del backend  # is the one that has this
        classes = torch.arange(len(images)) if classes is None else classes
        terms: dict[int, Tensor] = {}
        gradients: dict[int, Tensor] = {}
        for batch in self._prepared(teachers, images, ranks, classes):
            each_terms, each_gradient = batch_gradient(batch, images, classes, jitter, priors)
            terms |= zip(batch.numbers, each_terms.unbind(), strict=True)
            gradients |= zip(batch.numbers, each_gradient.flatten(1).unbind(), strict=True)
        lengths = [len(teacher.classes) * math.prod(images.shape[1:]) for teacher in teachers]
        names = ["total", "class", *(prior.name for prior in priors)]
        like, fields = images.detach(), [len(names)] * len(lengths)
        of_all = torch.stack(ranks.gather(in_order(terms), fields, like)).sum(dim=0)
        nothing = images.new_zeros(math.prod(images.shape[1:]))
        rows = torch.cat([*ranks.gather(in_order(gradients), lengths, like), nothing]).view(-1, *images.shape[1:])
        return dict(zip(names, of_all.unbind(), strict=True)), summed(rows, self._places)

    def _prepared(
        self, teachers: Sequence[ClassTeacher], images: Tensor, ranks: Ranks, classes: Tensor
    ) -> Iterable[Batch]:
        """Return the batches of this rank's share, and note where everybody's gradients belong."""
        own, device = ranks.share(teachers), images.device
        if len(teachers) != len(self._asked) or any(a is not b for a, b in zip(teachers, self._asked, strict=True)):
            self._asked = list(teachers)
            self._batches = list(batches_of(own, self.at_once, device)) if self.keep else []
        self._places = places_of(torch.cat([teacher.classes for teacher in teachers]), classes).to(device)
        return self._batches if self.keep else batches_of(own, self.at_once, device)


def batches_of(teachers: Sequence[ClassTeacher], at_once: int, device: torch.device) -> Iterator[Batch]:
    """Yield batches of at most ``at_once`` teachers of one structure; each network is asked for once."""
    begun: dict[Structure, dict[int, nn.Module]] = {}
    for number, teacher in enumerate(teachers):
        network = teacher.network
        structure = structure_of(network)
        begun.setdefault(structure, {})[number] = network
        if len(begun[structure]) == at_once:
            yield made(begun.pop(structure), teachers, device)
    for networks in begun.values():
        yield made(networks, teachers, device)


def made(networks: dict[int, nn.Module], teachers: Sequence[ClassTeacher], device: torch.device) -> Batch:
    """Return a batch of these networks, by the teachers' numbers."""
    numbers, each = list(networks), list(networks.values())
    remembered = [running_statistics(network) for network in each]
    wanted = {
        name: (torch.stack([own[name][0] for own in remembered]), torch.stack([own[name][1] for own in remembered]))
        for name in remembered[0]
    }
    classes = torch.stack([teachers[number].classes for number in numbers]).to(device)
    return Batch(numbers, Grouped(each[0], len(each)), stacked(each), wanted, classes)


def batch_gradient(
    batch: Batch, images: Tensor, classes: Tensor, jitter: tuple[int, int], priors: Sequence[Prior]
) -> tuple[Tensor, Tensor]:
    """Return the terms (teachers, terms) and their gradients (teachers, outputs, images_per_class, C, H, W).

    The other arguments are those of ``inversion_gradient``.
    """
    rows = images.detach()[torch.searchsorted(classes.to(images.device), batch.classes)]
    own = rows.flatten(1, 2).roll(jitter, dims=(-2, -1)).requires_grad_()
    labels = torch.arange(rows.shape[1], device=images.device).repeat_interleave(images.shape[1])
    terms = inversion_terms(batch.grouped, batch.weights, own, labels, batch.wanted, priors)
    (gradient,) = torch.autograd.grad(terms["total"].sum(), own)
    rolled_back = gradient.roll((-jitter[0], -jitter[1]), dims=(-2, -1))
    return torch.stack([term.detach() for term in terms.values()], dim=1), rolled_back.view_as(rows)


def inversion_terms(
    grouped: Grouped,
    weights: Weights,
    images: Tensor,
    labels: Tensor,
    wanted: Statistics,
    priors: Sequence[Prior],
) -> Terms:
    """Evaluate ``inversion_loss`` on each network's own batch; terms (networks,).

    Args:
        grouped: their structure.
        weights: each with the networks in front.
        images: (networks, N, C, H, W).
        labels: int64 (N,), the same for all.
        wanted: as in ``inversion_loss``, each (networks, channels).
        priors: terms beside the cross-entropy.
    """
    features, found = grouped.run(weights, images, statistics=True)

    def one(own: Tensor, logits: Tensor, features: Tensor, found: Statistics, wanted: Statistics) -> Terms:
        return weighted_terms(Seen(own, labels, logits, features, found, wanted), priors)

    return vmap(one)(images, head(weights, features), features, found if wanted else {}, wanted)


def in_order(found: dict[int, Tensor]) -> list[Tensor]:
    """Return the values in the order of their numbers, from 0."""
    return [found[number] for number in range(len(found))]


def places_of(classes: Tensor, moved: Tensor) -> Tensor:
    """Return which rows add up to the gradient of each class.

    Args:
        classes: int64, (R,): of which class each row is.
        moved: int64, (K,), ascending: the classes, each row's among them.

    Returns:
        int64, (most rows a class has, K): numbers of rows, ascending down each column, filled up with R.
    """
    rows: list[list[int]] = [[] for _ in moved]
    for row, place in enumerate(torch.searchsorted(moved, classes).tolist()):
        rows[place].append(row)
    most = max(map(len, rows))
    return torch.tensor([own + [len(classes)] * (most - len(own)) for own in rows]).T


def summed(rows: Tensor, places: Tensor) -> Tensor:
    """Return the sum of each class's rows (K, ...), in their order: an atomic sum would be another each time."""
    total = rows[places[0]]
    for more in places[1:]:
        total += rows[more]
    return total
