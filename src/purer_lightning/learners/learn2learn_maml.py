"""learn2learn's MAML behind the learner protocol: an engine to compare with. Nothing here needs it."""

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from purer_lightning.compute.backend import PLAIN, Backend
from purer_lightning.errors import PurerError
from purer_lightning.learners.base import BatchNormMode
from purer_lightning.learners.maml import Maml
from purer_lightning.nets.functional import Weights


class Learn2LearnMaml(Maml):
    """``Maml`` with the inner loop of learn2learn 0.2.0 (``learn2learn.algorithms.MAML``); it computes the same.

    Optional, since learn2learn has had no release since 2023 and pip cannot build it on Python 3.11 and newer.

    Args:
        architecture: as in ``Maml``, and so are the rest.
        arguments: further arguments of the architecture.
        inner_steps: gradient steps in training.
        test_inner_steps: gradient steps in validation and test; None takes ``inner_steps``.
        inner_lr: step size.
        first_order: leave the inner gradients' own derivatives out of the meta-gradient.
        batchnorm: whose statistics normalise the query images.
    """

    def __init__(
        self,
        architecture: str = "conv4",
        arguments: dict[str, int] | None = None,
        inner_steps: int = 1,
        test_inner_steps: int | None = None,
        inner_lr: float = 0.01,
        first_order: bool = False,
        batchnorm: BatchNormMode = "transductive",
    ) -> None:
        super().__init__(architecture, arguments, inner_steps, test_inner_steps, inner_lr, first_order, batchnorm)

    def build(self, way: int, channels: int, image_size: int, seed: int, backend: Backend = PLAIN) -> None:
        """Make the network for tasks of this shape, as every learner does.

        Raises:
            PurerError: learn2learn is not installed.
        """
        engine()
        super().build(way, channels, image_size, seed, backend)

    def adapt(self, weights: Weights, support: Tensor, labels: Tensor, *, second_order: bool = False) -> Weights:
        """Take ``inner_steps`` (training) or ``test_inner_steps`` (else) steps of learn2learn's ``adapt``."""
        network = engine().clone_module(self.network)
        give(network, self.start(weights, support, labels))
        maml = engine().MAML(network, lr=self.inner_lr, first_order=not second_order).clone()
        for _ in range(self.inner_steps if self.training else self.test_inner_steps):
            maml.adapt(F.cross_entropy(maml(support), labels))
        fast = dict(maml.module.named_parameters()) | dict(maml.module.named_buffers())
        return self.with_support_statistics(fast, support)


@cache
def engine() -> Any:
    """Return the module ``learn2learn.algorithms.maml``, without its packages' own imports.

    Those want gym, scipy and a torchvision that fits the installed torch, none of which MAML uses. So its two packages
    are entered as empty ones for as long as the import takes, and nothing of it stays in ``sys.modules``.

    Raises:
        PurerError: learn2learn is not installed.
    """
    earlier = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "learn2learn"}
    try:
        for package in ("learn2learn", "learn2learn.algorithms"):
            spec = find_spec(package)
            if spec is None:
                raise PurerError(
                    "Learn2LearnMaml needs the package learn2learn, which is not installed; build it with "
                    "`make learn2learn`, or take purer_lightning.learners.Maml, which computes the same."
                )
            sys.modules[package] = module_from_spec(spec)
        return import_module("learn2learn.algorithms.maml")
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "learn2learn"]:
            del sys.modules[name]
        sys.modules.update(earlier)


def give(network: nn.Module, weights: Weights) -> None:
    """Put ``weights`` in the places of a network's parameters and buffers, with their graph.

    Args:
        network: a structural clone, which shares no dictionary of tensors with a network that is in use.
        weights: by name; parameters are made to require gradients where they do not.
    """
    for name, value in weights.items():
        path, _, last = name.rpartition(".")
        owner = network.get_submodule(path)
        if last in owner._buffers:
            owner._buffers[last] = value
        else:
            # No nn.Parameter, behind which there can be no graph; learn2learn itself does the same.
            owner._parameters[last] = value if value.requires_grad else value.requires_grad_()  # type: ignore[assignment]
