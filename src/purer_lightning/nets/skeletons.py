"""Structures that are called in a network's place, so that no call changes the network: one a thread and network.

``torch.func.functional_call`` puts the given weights into the network itself for as long as the call takes. Two threads
that do so with one network get each other's weights. Here they are put into a copy of its structure, which belongs to
the calling thread.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Self
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from purer_lightning.compute.precision import widened
from purer_lightning.nets.statistics import Statistics, channel_statistics

OWN = ("_parameters", "_buffers", "_modules")  # a copy has these of its own; all else is taken from the original


class Part(NamedTuple):
    """A module of a network, and its copy.

    Attributes:
        name: in the network; empty for the network itself.
        original: the module's attributes. Not the module, which would keep a network alive that nobody else uses.
        copy: the module that is called.
        own: the attributes that the copy has for itself.
        children: of the original, as they were when the copy was made.
    """

    name: str
    original: dict[str, Any]
    copy: nn.Module
    own: dict[str, Any]
    children: tuple[nn.Module | None, ...]

    def is_current(self) -> bool:
        """Whether the original still has the children and the names of tensors that the copy was made of."""
        same = tuple(self.original["_modules"].values()) == self.children
        return same and all(self.own[kind].keys() >= self.original[kind].keys() for kind in ("_parameters", "_buffers"))


class Skeleton:
    """A copy of a network's structure without weights, for one thread.

    Args:
        network: what is copied.
        skeletons: say which class a module's copy is of.
    """

    def __init__(self, network: nn.Module, skeletons: "Skeletons") -> None:
        self.parts: list[Part] = []
        self._copies: dict[nn.Module, nn.Module] = {}  # a module that stands in two places has one copy
        self.skeletons = skeletons
        self.structure = self._copy(network, "")
        self._copies.clear()
        self.slots = {
            f"{part.name}.{name}" if part.name else name: (part.own[kind], name)
            for part in self.parts
            for kind in ("_parameters", "_buffers")
            for name in part.own[kind]
        }

    def _copy(self, module: nn.Module, name: str) -> nn.Module:
        if module in self._copies:
            return self._copies[module]
        kind = self.skeletons.kind(module)
        copy = self._copies[module] = kind.__new__(kind)
        children = {
            child: None if inner is None else self._copy(inner, f"{name}.{child}" if name else child)
            for child, inner in module._modules.items()
        }
        own = {"_parameters": dict(module._parameters), "_buffers": dict(module._buffers), "_modules": children}
        self.parts.append(Part(name, vars(module), copy, own, tuple(module._modules.values())))
        return copy

    def fill(self, weights: Mapping[str, Tensor], training: bool | None) -> None:
        """Take over the originals' attributes and tensors, then ``weights`` and the mode in the place of theirs.

        Raises:
            KeyError: a name that the network does not have.
        """
        for part in self.parts:
            vars(part.copy).clear()
            vars(part.copy).update(part.original)
            vars(part.copy).update(part.own)
            if training is not None:
                part.copy.training = training
            part.own["_parameters"].update(part.original["_parameters"])
            part.own["_buffers"].update(part.original["_buffers"])
        for name, value in weights.items():
            tensors, last = self.slots[name]
            tensors[last] = value

    def clear(self) -> None:
        """Let go of all tensors: behind fast weights there are graphs."""
        for tensors, name in self.slots.values():
            tensors[name] = None


class Skeletons:
    """Makes and keeps a skeleton for each network and thread; plain PyTorch. An engine makes faster ones."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        """Begin without skeletons where pickled: those belong to this process's networks."""
        return type(self), ()

    def kind(self, module: nn.Module) -> type[nn.Module]:
        """Return the class of a module's copy; it has the module's attributes."""
        return type(module)

    def collect(self, part: Part, collected: Statistics) -> None:
        """Let a part's copy put its input's statistics into ``collected`` in its next call, if it is a BatchNorm."""
        if not isinstance(part.copy, nn.BatchNorm2d):
            return

        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            collected[part.name] = channel_statistics(widened(inputs[0]))

        vars(part.copy)["_forward_pre_hooks"] = part.original["_forward_pre_hooks"].copy()
        part.copy.register_forward_pre_hook(hook)

    @contextmanager
    def lent(
        self, network: nn.Module, weights: Mapping[str, Tensor], *, statistics: bool, training: bool | None
    ) -> Iterator[tuple[nn.Module, Statistics]]:
        """Yield a structure with these weights, to be called within the block, and what it collects of statistics.

        Args:
            network: whose structure, and whose tensors where ``weights`` has none.
            weights: by name.
            statistics: whether BatchNorm layers are to report.
            training: the mode of all modules; None for their own.
        """
        skeleton = self._skeleton(network)
        collected: Statistics = {}
        try:
            skeleton.fill(weights, training)
            if statistics:
                for part in skeleton.parts:
                    self.collect(part, collected)
            yield skeleton.structure, collected
        finally:
            skeleton.clear()

    def _skeleton(self, network: nn.Module) -> Skeleton:
        kept: WeakKeyDictionary[nn.Module, Skeleton]
        kept = vars(self._of_thread).setdefault("skeletons", WeakKeyDictionary())
        skeleton = kept.get(network)
        if skeleton is None or not all(part.is_current() for part in skeleton.parts):
            skeleton = kept[network] = Skeleton(network, self)
        return skeleton
