"""The objective protocol: images of the bank in, a loss out, by which theta learns and images become hard."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from torch import Tensor

from purer_lightning.episode import EpisodePlan
from purer_lightning.errors import PurerError
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.learners.base import Learner
from purer_lightning.nets.functional import Weights
from purer_lightning.pool.teachers import Pool


class Outcome(NamedTuple):
    """What one evaluation of an objective gives, all scalars.

    Attributes:
        loss: with graph; what the theta step minimises, and the adversarial data step maximises.
        difficulty: without graph; the loss in a unit that can be compared over a run.
        accuracy: without graph, 0 to 1; how far theta has mastered these images. The Gradient Switch watches it.
    """

    loss: Tensor
    difficulty: Tensor
    accuracy: Tensor


class Objective(ABC):
    """What PurerModule trains its meta-model by.

    Attributes:
        divisible: whether the loss is a sum over the plan's episodes, each of which can be evaluated by itself; ranks
            then share them.
    """

    divisible: bool = False

    def setup(self, pool: Pool, learner: Learner, seed: int) -> None:
        """Take what a run knows before its first update: the pool, a learner that is built, and the run's seed."""
        self.pool, self.seed = pool, seed
        self.check(learner)

    @abstractmethod
    def check(self, learner: Learner) -> None:
        """Raise PurerError for a learner that cannot be trained by this objective."""

    @abstractmethod
    def outcome(
        self, learner: Learner, weights: Weights, bank: ImageBank, plan: EpisodePlan, *, second_order: bool
    ) -> Outcome:
        """Evaluate the objective for a theta step.

        Args:
            learner: in training mode.
            weights: theta; the graph of the loss reaches them.
            bank: its images are constants.
            plan: the update's episodes, and its number.
            second_order: keep the graph of inner gradients.
        """

    @abstractmethod
    def hardness(self, learner: Learner, weights: Weights, bank: ImageBank, plan: EpisodePlan) -> Tensor:
        """Return the loss of a fresh draw whose graph reaches ``bank.images``: the adversarial term of a data step.

        The arguments are those of ``outcome``; ``weights`` are copies that need not stay as they are.
        """

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to keep beside theta and the bank, so that a resumed run is the same run."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        del state  # nothing by default


def check_outputs(learner: Learner, wanted: int, what: str, why: str) -> None:
    """Raise PurerError unless the learner's network has ``wanted`` outputs and remembers its BatchNorm statistics.

    Args:
        learner: one that is built.
        wanted: outputs of its linear head.
        what: the objective's name, for the sentence.
        why: what the outputs stand for.
    """
    found = learner.spec.classes if learner.spec else 0
    if found != wanted:
        raise PurerError(
            f"{what} needs a meta-model with {wanted} outputs, {why}, but it has {found}; set "
            f"model.learner.init_args.outputs to {wanted}."
        )
    if learner.batchnorm != "running":
        raise PurerError(
            f"{what} trains on large mixed batches, whose BatchNorm statistics the meta-model has to remember for the "
            f"few images of a task, but the learner's batchnorm is '{learner.batchnorm}'; set "
            "model.learner.init_args.batchnorm to running."
        )
