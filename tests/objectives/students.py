"""A pool, a bank and a student in memory, float64, for the objectives' tests."""

from collections.abc import Sequence

import torch
from torch import Tensor

import reference
from purer_lightning.episode import EpisodePlan, draw_plan
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.learners import FeatureClassifier
from purer_lightning.nets import NetworkSpec
from purer_lightning.nets.functional import Weights
from purer_lightning.nets.normalisation import Normalisation
from purer_lightning.objectives import Distillation, Objective
from purer_lightning.pool.manifest import TeacherRecord
from purer_lightning.pool.teachers import Pool, PoolClass, Teacher
from purer_lightning.seeding import generator

SEED, SIZE, WIDTH = 3, 16, {"width": 4}
TEACHERS = ((0, 1, 2), (4, 2, 3, 1))  # of different sizes; two classes are known to both
SIZES = [len(known) for known in TEACHERS]
CLASSES, OUTPUTS, EACH = 5, sum(SIZES), 4


def make_pool(order: Sequence[int] = (0, 1)) -> Pool:
    """Return the teachers of TEACHERS in this order."""
    classes = tuple(PoolClass("made up", number, str(number)) for number in range(CLASSES))
    teachers = []
    for number in order:
        known = TEACHERS[number]
        spec = NetworkSpec("conv4", len(known), 3, SIZE, WIDTH)
        record = TeacherRecord(f"t{number}", "", "", spec, "made up", list(known), [str(c) for c in known], None)
        network = reference.make_network(number, len(known), remembers=True).requires_grad_(False)
        teachers.append(Teacher(record, network, torch.tensor(known)))
    return Pool(SIZE, 3, Normalisation((0.0,) * 3, (1.0,) * 3), classes, tuple(teachers))


def make_bank() -> ImageBank:
    """Return EACH images of each class, float64."""
    bank = ImageBank.drawn([str(number) for number in range(CLASSES)], EACH, 3, SIZE, SEED)
    bank.images = bank.images.detach().double().requires_grad_()
    return bank


def make_student(outputs: int = OUTPUTS) -> FeatureClassifier:
    """Return a learner in training mode whose BatchNorm remembers."""
    learner = FeatureClassifier("conv4", WIDTH, batchnorm="running", outputs=outputs)
    learner.build(3, 3, SIZE, SEED)
    learner.network = reference.make_network(7, outputs, remembers=True)
    return learner.train()


def ready(objective: Objective, order: Sequence[int] = (0, 1), outputs: int = OUTPUTS) -> FeatureClassifier:
    """Set an objective up and return its student."""
    student = make_student(outputs)
    objective.setup(make_pool(order), student, SEED)
    return student


def small(**changes: object) -> Distillation:
    """Return a distillation with periods of six updates."""
    settings: dict[str, object] = {"batch_size": 5, "judged_batches": 3, "reuse": 2, "procedural": 0.25}
    return Distillation(**settings | changes)  # type: ignore[arg-type]


def make_plan(update: int = 0, episodes: int = 2) -> EpisodePlan:
    """Return a plan of 3-way 1-shot episodes."""
    counts = torch.full((CLASSES,), EACH)
    return draw_plan(counts, episodes, 3, 1, 2, update, generator(SEED, "plan", update))


def copies(student: FeatureClassifier) -> Weights:
    """Return what ``PurerModule`` gives to ``Objective.hardness``."""
    return {name: value.clone() for name, value in student.frozen_weights().items()}


def plain_logits(parameters: list[Tensor], images: Tensor) -> Tensor:
    """Return the reference's logits, normalised by the batch's own statistics, as in training."""
    weight, bias = parameters[16:]
    return reference.conv4_features(parameters, images)[0] @ weight.T + bias


def gradients(loss: Tensor, student: FeatureClassifier) -> tuple[Tensor, ...]:
    """Return the gradient with respect to theta in the order of ``reference.PARAMETERS``."""
    own = dict(student.network.named_parameters())
    return torch.autograd.grad(loss, [own[name] for name in reference.PARAMETERS])
