"""One run on any number of ranks: who computes what, and how the parts come together. The collective arithmetic.

Work is a list of items, the same on each rank: the teachers of a data step, the episodes of a theta step. Each rank
computes its share of it; afterwards every rank has the whole, added up so that the sum does not depend on how many
ranks there are. So a run is the same to the bit on any number of ranks whose processors compute alike, and the ranks'
copies of the meta-model and the bank stay equal without being sent.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Item = TypeVar("Item")


class Ranks(NamedTuple):
    """This process among those of the run; as it is by default, the only one.

    Attributes:
        rank: of this process, 0 to size - 1.
        size: how many processes there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> Self:
        """Return this process's place by torch.distributed; alone where that has not been started."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this rank's items: every ``size``-th, from number ``rank`` on. None where there are too few."""
        return items[self.rank :: self.size]

    def gather(self, own: Sequence[Tensor], lengths: Sequence[int], like: Tensor) -> list[Tensor]:
        """Return all items' results, in the order of the items; each rank receives them all.

        Args:
            own: results of this rank's share, each 1-D.
            lengths: of the results of all items, in their order.
            like: has the results' dtype and device, for a rank whose share is empty.
        """
        if self.size == 1:
            return list(own)
        shares = [list(lengths[rank :: self.size]) for rank in range(self.size)]
        # Equal lengths: gloo gathers no others.
        sent = like.new_zeros(max(sum(share) for share in shares))
        if own:
            sent[: sum(shares[self.rank])] = torch.cat(list(own))
        received = [torch.empty_like(sent) for _ in shares]
        dist.all_gather(received, sent)
        by_rank = [
            torch.split(row[: sum(share)], share) if share else () for row, share in zip(received, shares, strict=True)
        ]
        return [by_rank[number % self.size][number // self.size] for number in range(len(lengths))]

    def sum(self, own: Sequence[Tensor], largest: float, count: int, like: Tensor) -> Tensor:
        """Return the sum of all items' results, the same to the bit however the ranks share them.

        Summed as whole numbers in units of 2^-k, which are exact in any order, unlike floating point. k is the largest
        for which no sum overflows 63 bits, so the unit is about 2^-60 of ``largest``, finer than a float of that size.

        Args:
            own: results of this rank's share, all of the shape, dtype and device of ``like``.
            largest: absolute value over all items; where it is not finite, neither is the sum.
            count: of all items.
            like: for a rank whose share is empty.
        """
        if not math.isfinite(largest):
            return torch.full_like(like, math.nan)
        spare = math.frexp(largest)[1] + math.ceil(math.log2(count)) + 1
        exponent = min(62 - spare, 120)  # 2^120 is still a float32, as is its inverse
        total = torch.zeros_like(like, dtype=torch.int64)
        for result in own:
            total += (result * 2.0**exponent).round().long()
        if self.size > 1:
            dist.all_reduce(total)
        return total.to(like) * 2.0**-exponent

    def first(self, value: Tensor) -> Tensor:
        """Return the first rank's value; the given tensor is overwritten."""
        if self.size > 1:
            dist.broadcast(value, 0)
        return value


ALONE = Ranks()


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """Return all values in one row, without a graph."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def shaped(row: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return a row of values in the shapes of ``like``: what ``flat`` was given."""
    parts = torch.split(row, [tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


def fingerprint(tensors: Sequence[Tensor]) -> Tensor:
    """Return two numbers, int64 (2,), that change where a bit of float32 or float64 tensors does, on their device.

    Sum and sum of squares, modulo 2^64, of what the bits say as whole numbers: two last bits of which one rises and
    one falls leave the sum, but not the squares.
    """
    marks = torch.zeros(2, dtype=torch.int64, device=tensors[0].device)
    for tensor in tensors:
        for part in torch.split(tensor.detach().flatten(), 2**20):  # the squares take memory
            whole = part.view(torch.int32 if part.element_size() == 4 else torch.int64).long()
            marks += torch.stack([whole.sum(), (whole * whole).sum()])
    return marks
