"""Baselines made of the pool itself, with nothing meta-trained, behind the learner protocol."""

from typing import Any, Literal

import torch
from torch import Tensor

from purer_lightning.compute.backend import PLAIN, Backend
from purer_lightning.errors import PurerError, nearest
from purer_lightning.learners.base import BatchNormMode
from purer_lightning.learners.cost import Cost, Representation, network_cost, with_classifier
from purer_lightning.learners.features import FeatureClassifier
from purer_lightning.learners.heads import HeadName
from purer_lightning.learners.maml import Maml
from purer_lightning.nets import NetworkSpec
from purer_lightning.nets.functional import Weights
from purer_lightning.pool.average import average_of_teachers
from purer_lightning.pool.ensemble import Judges
from purer_lightning.pool.teachers import AnyTeacher, Pool, load_pool


class PoolClassifier(FeatureClassifier):
    """Fits a head to the teachers' features or logits.

    Args:
        pool: folder of the pool.
        teachers: "all", "best" (by its own held-out accuracy), or a teacher's name.
        head: "cosine" and "euclidean" are nearest centroid; "ridge" and "logistic" are fitted to unit features.
        representation: "features" before the linear head, or "logits"; those of several teachers are concatenated.
        regularisation: of ridge and logistic, above 0.
        batchnorm: "running" is the teachers' own way and not transductive.

    Raises:
        PurerError: a regularisation that is not above 0.
    """

    takes_checkpoint = False

    def __init__(
        self,
        pool: str,
        teachers: str = "all",
        head: HeadName = "cosine",
        representation: Representation = "features",
        regularisation: float = 1.0,
        batchnorm: Literal["running"] = "running",
    ) -> None:
        super().__init__(head=head, representation=representation, regularisation=regularisation, batchnorm=batchnorm)
        self.pool = pool
        self.teachers = teachers
        # A tuple hides the teachers from the state_dict: they are read from the pool.
        self._teachers: tuple[AnyTeacher, ...] = ()

    def build(self, way: int, channels: int, image_size: int, seed: int, backend: Backend = PLAIN) -> None:
        """Load the teachers, which are all the networks there are; the seed plays no part."""
        del seed
        pool = load_pool(self.pool)
        check_image_shape(pool, self.pool, channels, image_size)
        self._teachers = chosen_teachers(pool, self.teachers)
        self._judges = Judges([teacher.network for teacher in self._teachers], backend)
        self.way, self.backend = way, backend
        self.spec = NetworkSpec(self.architecture, way, channels, image_size, self.arguments)

    def weights(self) -> Weights:
        """Nothing to adapt: teachers stay as they are."""
        return {}

    def represent(self, images: Tensor, weights: Weights) -> Tensor:
        """Return the teachers' concatenated features or logits, (N, D), without a graph."""
        del weights  # the teachers hold their own
        judges = self._judges.to(images)
        with torch.no_grad():
            return judges(images) if self.representation == "logits" else judges.features(images)

    def cost(self, spec: NetworkSpec) -> Cost:
        """Return the cost of all teachers and of the head's matrix; ``spec`` is of none of them."""
        del spec
        return with_classifier(
            [network_cost(teacher.record.network, self.representation) for teacher in self._teachers], self.way
        )

    def describe(self) -> dict[str, Any]:
        """Describe this baseline for results, in plain types: with the teachers' architectures, not its own."""
        own = ("architecture", "arguments", "outputs")
        said = {key: value for key, value in super().describe().items() if key not in own}
        networks = [teacher.record.network for teacher in self._teachers]
        return said | {
            "teachers": self.teachers,
            "architectures": [
                {"architecture": network.architecture, "arguments": dict(network.arguments)} for network in networks
            ],
        }


class TeacherAverage(Maml):
    """Fine-tunes the average of the teachers' parameters on the support set (only for pools of one architecture).

    Args:
        pool: folder of the pool.
        architecture: the teachers' architecture.
        arguments: further arguments of the architecture.
        test_inner_steps: gradient steps on the support set.
        inner_lr: step size.
        batchnorm: whose statistics normalise the query images.
    """

    takes_checkpoint = False

    def __init__(
        self,
        pool: str,
        architecture: str = "conv4",
        arguments: dict[str, int] | None = None,
        test_inner_steps: int = 1,
        inner_lr: float = 0.01,
        batchnorm: BatchNormMode = "transductive",
    ) -> None:
        super().__init__(architecture, arguments, test_inner_steps, test_inner_steps, inner_lr, batchnorm=batchnorm)
        self.pool = pool

    def build(self, way: int, channels: int, image_size: int, seed: int, backend: Backend = PLAIN) -> None:
        """Make the network, then give it the average weights."""
        super().build(way, channels, image_size, seed, backend)
        pool = load_pool(self.pool)
        check_image_shape(pool, self.pool, channels, image_size)
        average_of_teachers(pool, self.network)


class TeacherFineTune(Maml):
    """Fine-tunes one teacher on the support set, under a new head.

    Args:
        pool: folder of the pool.
        teacher: "best" (by its own held-out accuracy), or a teacher's name.
        test_inner_steps: gradient steps on the support set.
        inner_lr: step size.
        adapted: "all" weights, or the new linear "head" alone.
        batchnorm: whose statistics normalise the images; "running" is the teacher's own way and not transductive.
    """

    takes_checkpoint = False

    def __init__(
        self,
        pool: str,
        teacher: str = "best",
        test_inner_steps: int = 20,
        inner_lr: float = 0.03,
        adapted: Literal["all", "head"] = "all",
        batchnorm: BatchNormMode = "running",
    ) -> None:
        super().__init__(
            inner_steps=test_inner_steps, inner_lr=inner_lr, first_order=True, batchnorm=batchnorm, adapted=adapted
        )
        self.pool = pool
        self.teacher = teacher

    def build(self, way: int, channels: int, image_size: int, seed: int, backend: Backend = PLAIN) -> None:
        """Make a network like the teacher's and give it the teacher's weights; the seed plays no part."""
        pool = load_pool(self.pool)
        check_image_shape(pool, self.pool, channels, image_size)
        (teacher,) = chosen_teachers(pool, self.teacher, several=False)
        spec = teacher.record.network
        self.architecture, self.arguments, self.outputs = spec.architecture, spec.arguments, spec.classes
        super().build(way, channels, image_size, seed, backend)
        wanted = self.network.state_dict()  # no statistics, but in mode "running"
        self.network.load_state_dict({name: teacher.network.state_dict()[name] for name in wanted})

    def describe(self) -> dict[str, Any]:
        """Describe this baseline for results, in plain types."""
        return super().describe() | {"teacher": self.teacher}


def check_image_shape(pool: Pool, folder: str, channels: int, image_size: int) -> None:
    """Raise PurerError where the pool was trained on images of another shape than the episodes'."""
    if (pool.channels, pool.image_size) != (channels, image_size):
        raise PurerError(
            f"The pool in '{folder}' was trained on images of {pool.channels} x {pool.image_size} x {pool.image_size}, "
            f"but the episodes have {channels} x {image_size} x {image_size}; choose the data set the pool is for."
        )


def chosen_teachers(pool: Pool, choice: str, *, several: bool = True) -> tuple[AnyTeacher, ...]:
    """Return all teachers, the one of best held-out accuracy, or the one of that name.

    Args:
        pool: whose teachers.
        choice: "all", "best" or a name.
        several: whether "all" is a choice.

    Raises:
        PurerError: no such teacher, or "best" where no teacher has been measured.
    """
    if choice == "all" and several:
        return pool.teachers
    if choice == "best":
        return (best_teacher(pool),)
    by_name = {teacher.record.name: teacher for teacher in pool.teachers}
    if choice not in by_name:
        words = "'all', 'best'" if several else "'best'"
        raise PurerError(
            f"Expected {'teachers' if several else 'teacher'} to be {words} or one of {sorted(by_name)}, but got "
            f"'{choice}'.{nearest(choice, by_name)}"
        )
    return (by_name[choice],)


def best_teacher(pool: Pool) -> AnyTeacher:
    """Return the teacher of best held-out accuracy, the first of several.

    Raises:
        PurerError: none has been measured.
    """
    measured = [teacher for teacher in pool.teachers if teacher.record.held_out_accuracy is not None]
    if not measured:
        raise PurerError(
            "No teacher of the pool has a held-out accuracy, so none is known to be the best; name the one to take "
            f"instead of 'best': {', '.join(teacher.record.name for teacher in pool.teachers)}."
        )
    return max(measured, key=lambda teacher: teacher.record.held_out_accuracy or 0.0)
