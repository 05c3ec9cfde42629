"""Learners that fit a head to the features of the support set and leave the network as it is."""

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn

from purer_lightning.compute.precision import full_precision, widened
from purer_lightning.learners.base import BatchNormMode, Learner
from purer_lightning.learners.cost import Cost, Representation, network_cost, with_classifier
from purer_lightning.learners.heads import Head, HeadName, make_head
from purer_lightning.nets import NetworkSpec
from purer_lightning.nets.functional import Weights

LEARNT, FITTED = "learnt.", "fitted."
"""Begin the names of a head's settings that training learns, and of its state, beside the network's own weights."""


class FeatureLearner(Learner):
    """Adapts by fitting a head; subclasses say which.

    Attributes:
        representation: what the head is given.
        learnt: settings of the head that training learns.
    """

    calibratable = False  # its fast weights are not the network's parameters alone
    representation: Representation = "features"

    def __init__(
        self,
        architecture: str = "conv4",
        arguments: dict[str, int] | None = None,
        batchnorm: BatchNormMode = "transductive",
        outputs: int | None = None,
    ) -> None:
        super().__init__(architecture, arguments, batchnorm, outputs)
        self.learnt = nn.ParameterDict()

    @abstractmethod
    def head(self, learnt: Weights) -> Head:
        """Return the head under these values of ``self.learnt``."""

    def weights(self) -> Weights:
        """The network's weights, and the head's learnt settings."""
        return super().weights() | {LEARNT + name: value for name, value in self.learnt.items()}

    def adapt(self, weights: Weights, support: Tensor, labels: Tensor, *, second_order: bool = False) -> Weights:
        """Return ``weights`` with the fitted head's state under names that begin with ``FITTED``.

        The support may be given as what ``represent`` says of it, (N, D), and so may the images of ``logits``.
        """
        del second_order  # a closed form has no inner gradient: the result always has its exact graph
        weights = weights | self.with_support_statistics(of_network(weights), support)
        features = self._represented(support, of_network(weights))
        with full_precision(features):
            state = self.head(part(weights, LEARNT)).fit(features, labels, self.way)
        return weights | {FITTED + name: value for name, value in state.items()}

    def logits(self, images: Tensor, fast: Weights) -> Tensor:
        """Return the head's logits (N, way)."""
        features = self._represented(images, of_network(fast))
        with full_precision(features):
            return self.head(part(fast, LEARNT)).logits(features, part(fast, FITTED))

    @property
    def represents_singly(self) -> bool:
        """Whether what is said of an image depends on it alone: where the network remembers its statistics."""
        return self.batchnorm == "running"

    def _represented(self, images: Tensor, weights: Weights) -> Tensor:
        return widened(images) if images.dim() == 2 else self.represent(images, weights)

    def represent(self, images: Tensor, weights: Weights) -> Tensor:
        """Return what the head is given, at least float32, (N, D).

        Args:
            images: (N, C, H, W), normalised.
            weights: of the network alone.
        """
        return self.run(weights, images).logits if self.representation == "logits" else self.features(weights, images)

    def cost(self, spec: NetworkSpec) -> Cost:
        """Return the cost of the network up to ``representation`` and of the head's matrix (D, way)."""
        return with_classifier([network_cost(spec, self.representation)], self.way)


class FeatureClassifier(FeatureLearner):
    """Fits a head that has nothing to learn: the baseline that a meta-learner has to beat, and the test of a student.

    Args:
        architecture: a name of the registry in ``purer_lightning.nets``.
        arguments: further arguments of the architecture.
        head: "cosine" and "euclidean" are nearest centroid; "ridge" and "logistic" are fitted to unit features;
            or the path of a ``Head`` of your own.
        representation: "features" before the network's linear head, or its "logits", for a student with ``outputs``.
        regularisation: of ridge and logistic, above 0.
        batchnorm: whose statistics normalise the query images.
        outputs: of the network's linear head; None: ``way``.

    Raises:
        PurerError: a regularisation that is not above 0.
    """

    def __init__(
        self,
        architecture: str = "conv4",
        arguments: dict[str, int] | None = None,
        head: HeadName = "cosine",
        representation: Representation = "features",
        regularisation: float = 1.0,
        batchnorm: BatchNormMode = "transductive",
        outputs: int | None = None,
    ) -> None:
        super().__init__(architecture, arguments, batchnorm, outputs)
        self.representation = representation
        self.head_name = head
        self.regularisation = regularisation
        self._head = make_head(head, regularisation)

    def head(self, learnt: Weights) -> Head:
        """Return the head that was chosen."""
        del learnt  # nothing is
        return self._head

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments; ``head`` is a method here, so its name is kept under another."""
        return super().settings() | {"head": self.head_name}

    def describe(self) -> dict[str, Any]:
        """What a result says about this learner, in plain types."""
        regularised = self._head.regularised
        said = {"head": self.head_name, "representation": self.representation}
        return super().describe() | said | ({"regularisation": self.regularisation} if regularised else {})


def of_network(weights: Weights) -> Weights:
    """Return those of ``weights`` that are the network's."""
    return {name: value for name, value in weights.items() if not name.startswith((LEARNT, FITTED))}


def part(weights: Weights, prefix: str) -> Weights:
    """Return those of ``weights`` whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
