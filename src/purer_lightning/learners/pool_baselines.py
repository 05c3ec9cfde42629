"""Training-free baselines made of the pool itself, behind the same protocol as every learner."""

from typing import Any, Literal

import torch
from torch import Tensor

from purer_lightning.errors import PurerError, nearest
from purer_lightning.learners.base import BatchNormMode
from purer_lightning.learners.centroid import NearestCentroid
from purer_lightning.learners.maml import Maml
from purer_lightning.nets import NetworkSpec
from purer_lightning.nets import functional as nets
from purer_lightning.nets.functional import Weights
from purer_lightning.pool.average import average_of_teachers
from purer_lightning.pool.teachers import Pool, Teacher, load_pool


class PoolCentroid(NearestCentroid):
    """Nearest centroid (cosine) on what teachers say of an image, nothing trained.

    Args:
        pool: folder of the pool.
        teachers: "all", "best" (by its own held-out accuracy), or a teacher's name.
        representation: "features" before the linear head, or "logits"; those of several teachers are concatenated.
        batchnorm: "running" is the teachers' own way and not transductive.
    """

    takes_checkpoint = False

    def __init__(
        self,
        pool: str,
        teachers: str = "all",
        representation: Literal["features", "logits"] = "features",
        batchnorm: Literal["running"] = "running",
    ) -> None:
        super().__init__(batchnorm=batchnorm)
        self.pool = pool
        self.teachers = teachers
        self.representation = representation
        # A tuple hides the teachers from the state_dict: they are read from the pool.
        self._teachers: tuple[Teacher, ...] = ()

    def build(self, way: int, channels: int, image_size: int, seed: int) -> None:
        """Load the teachers, which are all the networks there are; the seed plays no part."""
        del seed
        pool = load_pool(self.pool)
        check_image_shape(pool, self.pool, channels, image_size)
        self._teachers = chosen_teachers(pool, self.teachers)
        self.spec = NetworkSpec(self.architecture, way, channels, image_size, self.arguments)

    def weights(self) -> Weights:
        """Nothing to adapt: teachers stay as they are."""
        return {}

    def represent(self, images: Tensor, fast: Weights) -> Tensor:
        """Return the teachers' concatenated features or logits, (N, D)."""
        del fast  # holds centroids only
        networks = [teacher.network.to(images.device) for teacher in self._teachers]
        if self.representation == "logits":
            return torch.cat([network(images) for network in networks], dim=1)
        return torch.cat([nets.features(network, {}, images) for network in networks], dim=1)

    def describe(self) -> dict[str, Any]:
        """What a result says about this baseline, in plain types: the teachers' architectures, it has none itself."""
        said = {key: value for key, value in super().describe().items() if key not in ("architecture", "arguments")}
        networks = [teacher.record.network for teacher in self._teachers]
        return said | {
            "teachers": self.teachers,
            "representation": self.representation,
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

    def build(self, way: int, channels: int, image_size: int, seed: int) -> None:
        """Make the network, then give it the average weights."""
        super().build(way, channels, image_size, seed)
        pool = load_pool(self.pool)
        check_image_shape(pool, self.pool, channels, image_size)
        average_of_teachers(pool, self.network)


def check_image_shape(pool: Pool, folder: str, channels: int, image_size: int) -> None:
    """Raise PurerError where the pool was trained on images of another shape than the episodes'."""
    if (pool.channels, pool.image_size) != (channels, image_size):
        raise PurerError(
            f"The pool in '{folder}' was trained on images of {pool.channels} x {pool.image_size} x {pool.image_size}, "
            f"but the episodes have {channels} x {image_size} x {image_size}; choose the data set the pool is for."
        )


def chosen_teachers(pool: Pool, choice: str) -> tuple[Teacher, ...]:
    """Return all teachers, the one of best held-out accuracy, or the one of that name."""
    if choice == "all":
        return pool.teachers
    if choice == "best":
        return (max(pool.teachers, key=lambda teacher: teacher.record.held_out_accuracy or 0.0),)
    by_name = {teacher.record.name: teacher for teacher in pool.teachers}
    if choice not in by_name:
        raise PurerError(
            f"Expected teachers to be 'all', 'best' or one of {sorted(by_name)}, but got '{choice}'."
            f"{nearest(choice, by_name)}"
        )
    return (by_name[choice],)
