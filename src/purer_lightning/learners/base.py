"""The learner protocol: adapt(support) -> fast weights; logits(query, fast weights)."""

import copy
import inspect
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from purer_lightning.compute.backend import PLAIN, Backend
from purer_lightning.compute.precision import full_precision
from purer_lightning.episode import Episode
from purer_lightning.errors import PurerError
from purer_lightning.learners.cost import Cost, network_cost
from purer_lightning.nets import NetworkSpec
from purer_lightning.nets.functional import Output, Weights, as_buffers
from purer_lightning.seeding import derived_seed

BatchNormMode = Literal["transductive", "support", "running"]
"""Whose statistics normalise the query images: the query batch's own (so queries see one another), the support set's,
or those that the network remembers from its training."""


class Learner(nn.Module, ABC):
    """A network and a way to adapt it.

    A subclass keeps each of its constructor's arguments as an attribute of the same name: that is what ``settings``
    returns, and what a checkpoint remembers.

    Args:
        architecture: a name of the registry in ``purer_lightning.nets``.
        arguments: further arguments of the architecture.
        batchnorm: whose statistics normalise the query images.
        outputs: of the network's linear head, where they are other classes than a task's, such as all those of a pool
            that a student was trained on. None: ``way``, and the head is the tasks' own.

    Attributes:
        network: made by ``build``.
        way: classes of a task; known from ``build`` on.
        backend: how the network is called; known from ``build`` on.
        second_order: whether the meta-gradient goes through the inner loop's gradients.
        takes_checkpoint: whether a meta-model's checkpoint can be loaded; False where the weights are a pool's.
    """

    network: nn.Module
    way: int
    second_order: bool = False
    takes_checkpoint: bool = True
    backend: Backend = PLAIN

    def __init__(
        self,
        architecture: str = "conv4",
        arguments: dict[str, int] | None = None,
        batchnorm: BatchNormMode = "transductive",
        outputs: int | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.arguments = arguments or {}
        self.batchnorm = batchnorm
        self.outputs = outputs
        self.spec: NetworkSpec | None = None

    def build(self, way: int, channels: int, image_size: int, seed: int, backend: Backend = PLAIN) -> None:
        """Make the network for tasks of this shape; its first weights depend on the seed alone.

        Args:
            way: classes of a task.
            channels: of its images.
            image_size: height and width in pixels.
            seed: the run's.
            backend: how the network is to be called.

        Raises:
            PurerError: unknown architecture or argument, or no outputs.
        """
        outputs = way if self.outputs is None else self.outputs
        if outputs < 1:
            raise PurerError(
                f"Expected the learner's outputs to be at least 1, or null for data.way, but got {outputs}; change "
                "model.learner.init_args.outputs."
            )
        self.way, self.backend = way, backend
        self.spec = NetworkSpec(self.architecture, outputs, channels, image_size, self.arguments)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, "meta-model"))
            network = self.spec.build(running_statistics=self.batchnorm == "running")
        # Faster on a CPU than the contiguous format: benchmarks/README.md.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments in plain types; with the class they are enough to make this learner again.

        Those that are no attribute, or of another type, are left out.
        """
        names = inspect.signature(type(self)).parameters
        return {name: value for name, value in vars(self).items() if name in names and is_plain(value)}

    def for_way(self, way: int) -> Self:
        """Return this learner, sharing its network, for tasks of another number of classes."""
        other = copy.copy(self)
        other.way = way
        return other

    def run(self, weights: Weights, images: Tensor, *, statistics: bool = False) -> Output:
        """Call the network with ``weights`` in the place of its own, which stay as they are: see ``Output``.

        Where ``weights`` hold BatchNorm statistics, these normalise the images, in training too.
        """
        training = False if any(name.endswith("running_mean") for name in weights) else None
        return self.backend.run(self.network, weights, images, statistics=statistics, training=training)

    def features(self, weights: Weights, images: Tensor) -> Tensor:
        """Return what the network's linear head is given, (N, D), in at least float32.

        Raises:
            PurerError: the network has no features.
        """
        features = self.run(weights, images).features
        if features is None:
            raise PurerError(
                f"Expected a network with features and a linear head, but '{self.architecture}' has none; choose "
                "another model.learner.init_args.architecture."
            )
        return features

    def weights(self) -> Weights:
        """The network's own parameters (and buffers, in mode ``running``) by name: where adaptation starts."""
        return dict(self.network.named_parameters()) | dict(self.network.named_buffers())

    def frozen_weights(self) -> Weights:
        """Copies of ``weights`` that share memory but not the graph: nothing done with them reaches the network."""
        return {name: value.detach() for name, value in self.weights().items()}

    @abstractmethod
    def adapt(self, weights: Weights, support: Tensor, labels: Tensor, *, second_order: bool = False) -> Weights:
        """Adapt ``weights`` to a support set and return the fast weights. Needs gradients enabled.

        Args:
            weights: where to start.
            support: (N, C, H, W), normalised.
            labels: int64 (N,), 0 to way - 1.
            second_order: keep the graph of the inner gradients, so that the result can be differentiated with
                respect to ``weights`` and ``support`` exactly.
        """

    @property
    def calibratable(self) -> bool:
        """Whether ICFIL applies: the fast weights are the network's parameters, and its BatchNorm remembers nothing."""
        return self.batchnorm != "running"

    def logits(self, images: Tensor, fast: Weights) -> Tensor:
        """Return logits (N, way) of images (N, C, H, W), normalised in the learner's BatchNorm mode."""
        return self.run(fast, images).logits

    def with_support_statistics(self, fast: Weights, support: Tensor) -> Weights:
        """In mode ``support``, add the support set's BatchNorm statistics under ``fast``; else return it as it is."""
        if self.batchnorm != "support":
            return fast
        return fast | as_buffers(self.run(fast, support, statistics=True).statistics)

    def cost(self, spec: NetworkSpec) -> Cost:
        """Return what answering one query image takes: here, the network with a head of ``way`` outputs.

        Args:
            spec: of the network that was built.
        """
        return network_cost(replace(spec, classes=self.way))

    def describe(self) -> dict[str, Any]:
        """Describe this learner for checkpoints and results, in plain types; with the tasks' shape once it is built.

        ``parameters`` and ``macs_per_query`` are those of ``cost``.
        """
        said = {
            "learner": type(self).__name__,
            "architecture": self.architecture,
            "arguments": dict(self.arguments),
            "batchnorm": self.batchnorm,
        }
        if self.spec is None:
            return said
        cost = self.cost(self.spec)
        return said | {
            "way": self.way,
            "outputs": self.spec.classes,
            "channels": self.spec.channels,
            "image_size": self.spec.image_size,
            "parameters": cost.parameters,
            "macs_per_query": cost.macs,
        }


def is_plain(value: object) -> bool:
    """Whether a value is None, a number, a text, or a list or dictionary of such: what JSON and YAML can hold."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def episode_accuracy(learner: Learner, episode: Episode, fast: Weights) -> Tensor:
    """Return the fraction of query images that the adapted learner labels right, scalar in 0 to 1.

    NaN where any logit is not finite: argmax would take the first class, and make chance of a failure.
    """
    with torch.no_grad():
        logits = learner.logits(episode.query, fast)
    accuracy = (logits.argmax(dim=1) == episode.query_labels).float().mean()
    return torch.where(logits.isfinite().all(), accuracy, torch.nan)


def adapted(learner: Learner, support: Tensor, labels: Tensor) -> Weights:
    """Return the fast weights for a support set, in at least float32; the meta-model's own stay as they are.

    Needs gradients enabled.

    Args:
        learner: any; in evaluation mode where it is scored.
        support: (N, C, H, W), normalised.
        labels: int64 (N,), 0 to way - 1.
    """
    with full_precision(support):
        return learner.adapt(learner.frozen_weights(), support, labels)
