"""What a distillation refuses, and in which words."""

from collections.abc import Callable

import pytest
from students import OUTPUTS, SEED, SIZE, make_pool, ready, small

from purer_lightning.errors import PurerError
from purer_lightning.learners import FeatureClassifier
from purer_lightning.objectives.augmentation import AugmentationSettings


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"batch_size": 0}, "init_args.batch_size to be at least 1, but got 0"),
        ({"judged_batches": 0}, "init_args.judged_batches to be at least 1, but got 0"),
        ({"reuse": -1}, "init_args.reuse to be at least 1, but got -1"),
        ({"procedural": 1.5}, "init_args.procedural, a share, to be within 0 and 1, but got 1.5"),
        ({"episodic": -0.1}, "init_args.episodic to be at least 0, but got -0.1"),
        ({"features": -1.0}, "init_args.features to be at least 0, but got -1"),
        ({"augmentation": AugmentationSettings(flip=2)}, "augmentation.flip"),
    ],
)
def test_a_value_out_of_its_range_is_named(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(PurerError, match=expected):
        small(**changes)


def wide_shift() -> None:
    ready(small(augmentation=AugmentationSettings(shift=SIZE)))


def too_few_outputs() -> None:
    ready(small(), outputs=OUTPUTS - 1)


def forgetful() -> None:
    student = FeatureClassifier("conv4", {"width": 4}, batchnorm="support", outputs=OUTPUTS)
    student.build(3, 3, SIZE, SEED)
    small().setup(make_pool(), student, SEED)


@pytest.mark.parametrize(
    ("set_up", "expected"),
    [
        (wide_shift, "augmentation.shift to be below the images' 16 pixels"),
        (too_few_outputs, "7 outputs, one for each output of each teacher, but it has 6; set .*outputs to 7"),
        (forgetful, "batchnorm is 'support'; set .*batchnorm to running"),
    ],
)
def test_a_student_that_cannot_learn_it_is_refused(set_up: Callable[[], None], expected: str) -> None:
    with pytest.raises(PurerError, match=expected):
        set_up()
