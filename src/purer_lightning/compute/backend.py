"""How a run computes: one forward pass, many items of work, and the operations that an engine may do faster.

The method asks its backend, and knows no engine. ``PLAIN`` is the definition; an engine's backend agrees with it to
rounding.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from purer_lightning.compute.threads import side_by_side
from purer_lightning.nets.functional import Output, run
from purer_lightning.nets.skeletons import Skeletons

Item = TypeVar("Item")
Result = TypeVar("Result")
P = ParamSpec("P")


@dataclass(frozen=True)
class Backend:
    """How networks are called and work is shared out.

    Attributes:
        operations: for a plain function, one that does the same faster. What is not in it is done plainly.
        skeletons: the structures that are called in the networks' place.
        one_pass: whether Adam passes once over parameters and moments; equal to rounding.
        remark: what a user has to know of it, one sentence; empty for nothing.
    """

    operations: Mapping[Callable[..., Any], Callable[..., Any]] = field(default_factory=dict)
    skeletons: Skeletons = field(default_factory=Skeletons)
    one_pass: bool = False
    remark: str = ""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: a copied learner is computed in the same way."""
        del memo
        return self

    def fast(self, operation: Callable[P, Result]) -> Callable[P, Result]:
        """Return the fastest function there is for this plain one: itself, unless an engine has another."""
        return cast("Callable[P, Result]", self.operations.get(operation, operation))

    def run(
        self,
        network: nn.Module,
        weights: Mapping[str, Tensor],
        images: Tensor,
        *,
        statistics: bool = False,
        training: bool | None = None,
    ) -> Output:
        """Call a network with ``weights`` in the place of its own: see ``nets.functional.run``."""
        return run(network, weights, images, statistics=statistics, training=training, skeletons=self.skeletons)

    def map(self, work: Callable[[Item], Result], items: Sequence[Item], like: Tensor) -> Iterator[Result]:
        """Return each item's result, as many at once as there are threads: see ``threads.side_by_side``."""
        return side_by_side(work, items, like)


PLAIN = Backend()


class Run(NamedTuple):
    """What the choice of a backend may depend on: settings alone, so that a resumed run takes the same one.

    Attributes:
        device: what the run computes on.
        precision: Lightning's name of it.
        updates: meta-updates of a fit, -1 without limit; None for an evaluation.
        episodes: of an evaluation; None for a fit.
        resident_teachers: how many teachers may be in memory; None for all.
        learner: the meta-model or baseline, perhaps not built yet.
        objective: of a fit; None for an evaluation.
    """

    device: torch.device
    precision: str
    updates: int | None = None
    episodes: int | None = None
    resident_teachers: int | None = None
    learner: object = None
    objective: object = None


class Engine:
    """Chooses the backend of a run. This one always takes the plain one."""

    def backend(self, run: Run) -> Backend:
        """Return the backend of a run."""
        del run
        return PLAIN
