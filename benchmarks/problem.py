"""The same task for the package and for the plain reference: teachers, bank, meta-model and plans, all in memory."""

import copy
from dataclasses import dataclass, replace

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from plain import INNER_LR, PlainTeacher, PlainUpdate
from purer_lightning.compute.backend import PLAIN, Backend
from purer_lightning.engine import choice
from purer_lightning.inversion.curriculum import CurriculumSettings
from purer_lightning.inversion.synthesis import PixelSynthesis, SynthesisTask
from purer_lightning.learners.maml import Maml
from purer_lightning.nets import NetworkSpec
from purer_lightning.nets.normalisation import Normalisation
from purer_lightning.pool.manifest import TeacherRecord
from purer_lightning.pool.teachers import Pool, PoolClass, Teacher
from purer_lightning.seeding import derived_seed
from purer_lightning.training import PurerModule
from purer_lightning.training.data_module import PseudoEpisodeDataModule

CPU = torch.device("cpu")
LAMBDA, IMAGE_LR = 10.0, 0.25
NEVER = 10**9  # a warm-up that does not end: the benchmark sets the switch by hand
CALIBRATION_BATCHES, CALIBRATION_IMAGES = 4, 80  # of N(0, 1): enough for running statistics that fit the bank's start


@dataclass
class Setting:
    """What is timed. The defaults are the paper's SS scenario: 13 Conv4 on disjoint blocks of 5 of 64 classes.

    Attributes:
        teachers: how many; None for as many as there are blocks. More go round the classes again.
        architecture: the teachers'; the meta-model is a Conv4.
        teacher_width: the teachers'; None for that of the meta-model.
    """

    classes: int = 64
    classes_per_teacher: int = 5
    images_per_class: int = 20
    way: int = 5
    shot: int = 1
    query: int = 15
    episodes: int = 4
    image_size: int = 32
    width: int = 32
    inner_steps: int = 1
    seed: int = 0
    teachers: int | None = None
    architecture: str = "conv4"
    teacher_width: int | None = None


class InMemoryEpisodes(PseudoEpisodeDataModule):
    """The package's own plans, for teachers that are in memory rather than in a pool's folder."""

    def __init__(self, setting: Setting, teachers: Pool) -> None:
        super().__init__(
            way=setting.way,
            shot=setting.shot,
            query=setting.query,
            images_per_class=setting.images_per_class,
            episodes_per_update=setting.episodes,
            updates_per_epoch=NEVER,
            seed=setting.seed,
        )
        self.teachers, self.channels, self.image_size = teachers, teachers.channels, teachers.image_size

    def setup(self, stage: str) -> None:
        """Everything is there."""


class Problem:
    """A ``PurerModule`` and a ``PlainUpdate`` that start from the same teachers, images and meta-model.

    Args:
        setting: sizes and seed.
        dtype: float64 to compare gradients, float32 to time.
        device: of everything.

    Attributes:
        module: not yet attached to anything: see ``attach``.
        data: draws the plans and owns the bank.
        plain: the reference; shares no memory with ``module``.
    """

    def __init__(self, setting: Setting, dtype: torch.dtype = torch.float32, device: torch.device = CPU) -> None:
        pool = make_pool(setting, dtype, device)
        self.data = InMemoryEpisodes(setting, pool)
        sizes = (setting.images_per_class, setting.shot, setting.query)
        self._task = SynthesisTask(pool, *sizes, setting.seed, IMAGE_LR, device, dtype)
        self.data.synthesis = PixelSynthesis()
        self.data.synthesis.setup(self._task)
        learner = Maml(arguments={"width": setting.width}, inner_steps=setting.inner_steps, inner_lr=INNER_LR)
        learner.build(setting.way, 3, setting.image_size, setting.seed)
        learner.to(device, dtype)
        curriculum = CurriculumSettings(warm_up=NEVER, weight=LAMBDA)
        self.module = PurerModule(learner, curriculum, image_lr=IMAGE_LR, seed=setting.seed)
        self.module.pool, self.module.synthesis, self.module.data = pool, self.data.synthesis, self.data
        self.plain = PlainUpdate(
            [PlainTeacher(copy.deepcopy(teacher.network), teacher.classes) for teacher in pool.teachers],
            leaf(self.data.bank.images),
            [leaf(parameter) for parameter in learner.network.parameters()],
        )
        self._start = [value.detach().clone() for value in (self.plain.bank, *self.plain.theta)]

    def attach(self, *, compiled: bool = False) -> None:
        """Give the module its optimisers without a Trainer, whose loop is none of the algorithm.

        Args:
            compiled: compute as ``engine.choice compiled`` does.
        """
        backend = choice.compiled() if compiled else PLAIN
        fabric = Fabric(accelerator=self.data.bank.images.device.type, devices=1)
        optimizers = self.module.configure_optimizers()[0]
        fabric.setup(self.module, *optimizers)
        self.module.on_fit_start()
        self.data.synthesis.setup(replace(self._task, one_pass=backend.one_pass))
        self.use(backend)

    def use(self, backend: Backend) -> None:
        """Let the module compute by this backend."""
        self.module.backend = self.module.learner.backend = backend

    def restore(self) -> None:
        """Put images and parameters of both paths back to the common start."""
        with torch.no_grad():
            for values in (
                (self.plain.bank, *self.plain.theta),
                (self.data.bank.images, *self.module.learner.parameters()),
            ):
                for value, start in zip(values, self._start, strict=True):
                    value.copy_(start)


def leaf(value: Tensor) -> Tensor:
    """Return a copy that requires gradients, in contiguous memory whatever the package chose."""
    return value.detach().clone(memory_format=torch.contiguous_format).requires_grad_()


def make_pool(setting: Setting, dtype: torch.dtype, device: torch.device = CPU) -> Pool:
    """Return teachers on consecutive blocks of classes; the last has what is left, or begins anew."""
    numbers, each = range(setting.classes), setting.classes_per_teacher
    blocks = [tuple(numbers[i : i + each]) for i in numbers[::each]]
    if setting.teachers:
        firsts = range(0, each * setting.teachers, each)
        blocks = [tuple((first + number) % setting.classes for number in range(each)) for first in firsts]
    teachers = tuple(make_teacher(setting, number, block, dtype, device) for number, block in enumerate(blocks))
    classes = tuple(PoolClass("random", number, str(number)) for number in numbers)
    return Pool(setting.image_size, 3, Normalisation((0.0,) * 3, (1.0,) * 3), classes, teachers)


def make_teacher(
    setting: Setting, number: int, classes: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Teacher:
    """Return an untrained network whose BatchNorm remembers its true statistics on noise, so that no layer is dead."""
    size = setting.image_size
    width = setting.teacher_width or setting.width
    spec = NetworkSpec(setting.architecture, len(classes), 3, size, {"width": width})
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(derived_seed(setting.seed, "benchmark teacher", number))
        network = spec.build(running_statistics=True).to(device).train()
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # the plain mean over all batches
        for _ in range(CALIBRATION_BATCHES):
            network(torch.randn(CALIBRATION_IMAGES, 3, size, size).to(device))
    record = TeacherRecord(f"random{number}", "", "", spec, "random", list(classes), [str(c) for c in classes], None)
    return Teacher(record, network.to(dtype).eval().requires_grad_(False), torch.tensor(classes))
