"""One meta-update of ``PurerModule`` against the plain reference in float64: first the whole, then each part."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from lightning import Trainer
from torch import Tensor

import reference
from purer_lightning.inversion.curriculum import CurriculumSettings
from purer_lightning.inversion.gradient import draw_jitter, inversion_gradient
from purer_lightning.inversion.priors import InversionSettings
from purer_lightning.inversion.synthesis import PixelSynthesis, SynthesisTask
from purer_lightning.learners.maml import Maml
from purer_lightning.nets import NetworkSpec
from purer_lightning.nets.normalisation import Normalisation
from purer_lightning.objectives.episodic import outer_loop
from purer_lightning.pool.manifest import TeacherRecord
from purer_lightning.pool.teachers import Pool, PoolClass, Teacher
from purer_lightning.training import PurerModule
from purer_lightning.training.data_module import PseudoEpisodeDataModule
from reference import PARAMETERS, MetaUpdate, outer_loss, plain_episodes

SEED, SIZE, WIDTH = 3, 16, {"width": 4}
TEACHERS = ((0, 1, 2), (4, 2, 3))  # class 2 is known to both; the second teacher's outputs are in no particular order
OFFSET = (2, -1)
LAMBDA, RATE = 10.0, 0.25
OFF = CurriculumSettings(enabled=False)
ON_AT_ONCE = CurriculumSettings(warm_up=0, weight=LAMBDA)
INVERSION = InversionSettings(total_variation=1e-4, l2=1e-5, feature=0.01)
PRIORS = INVERSION.priors()


class InMemoryEpisodes(PseudoEpisodeDataModule):
    """The package's own draws, from teachers and a bank that are in memory rather than in a pool's folder."""

    def __init__(self, teachers: Pool, way: int) -> None:
        super().__init__(way=way, shot=1, query=2, images_per_class=4, updates_per_epoch=5, seed=SEED)
        self.teachers, self.channels, self.image_size = teachers, 3, SIZE
        self.synthesis = PixelSynthesis()
        task = SynthesisTask(teachers, self.images_per_class, self.shot, self.query, SEED, RATE, dtype=torch.float64)
        self.synthesis.setup(task)

    def setup(self, stage: str) -> None:
        """Everything is there."""


class Problem(NamedTuple):
    """The same task for the package and for the reference."""

    module: PurerModule
    data: InMemoryEpisodes
    plain: MetaUpdate


def make_teacher(number: int, classes: tuple[int, ...]) -> Teacher:
    spec = NetworkSpec("conv4", len(classes), 3, SIZE, WIDTH)
    record = TeacherRecord(f"t{number}", "", "", spec, "made up", list(classes), [str(c) for c in classes], None)
    network = reference.make_network(number, len(classes), remembers=True).requires_grad_(False)
    return Teacher(record, network, torch.tensor(classes))


def make_problem(
    inner_steps: int = 1, curriculum: CurriculumSettings = OFF, first_order: bool = False, way: int = 3
) -> Problem:
    teachers = tuple(make_teacher(number, classes) for number, classes in enumerate(TEACHERS))
    classes = tuple(PoolClass("made up", number, str(number)) for number in range(5))
    data = InMemoryEpisodes(Pool(SIZE, 3, Normalisation((0.0,) * 3, (1.0,) * 3), classes, teachers), way)
    learner = Maml(arguments=WIDTH, inner_steps=inner_steps, inner_lr=0.01, first_order=first_order)
    learner.build(way, 3, SIZE, SEED)
    learner.network = reference.make_network(7, way, remembers=False).train()
    module = PurerModule(learner, curriculum, INVERSION, image_lr=RATE, meta_lr=1e-3, seed=SEED)
    module.pool, module.synthesis, module.data = data.teachers, data.synthesis, data
    module.objective.setup(data.teachers, learner, SEED)
    plain = MetaUpdate(
        data.bank.images.detach().clone().requires_grad_(),
        reference.parameters_of(learner.network),
        [
            reference.plain_teacher(teacher.network, classes)
            for teacher, classes in zip(teachers, TEACHERS, strict=True)
        ],
        reference.Inner(0.01, inner_steps, second_order=not first_order),
    )
    return Problem(module, data, plain)


def fit(problem: Problem, updates: int, folder: Path) -> None:
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=updates,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(problem.module, datamodule=problem.data)
    assert trainer.global_step == updates


def follow(problem: Problem, switch_weights: list[float]) -> None:
    for update, weight in enumerate(switch_weights):
        plan = problem.data.plan(update)
        problem.plain.step(draw_jitter(SEED, update), weight, plan.adversarial, plan.meta_batch)


def assert_same(problem: Problem) -> None:
    torch.testing.assert_close(problem.data.bank.images, problem.plain.bank, rtol=0, atol=1e-8)
    wanted = dict(zip(PARAMETERS, problem.plain.theta, strict=True))
    torch.testing.assert_close(theta(problem), wanted, rtol=0, atol=1e-8)


def theta(problem: Problem) -> dict[str, Tensor]:
    found = dict(problem.module.learner.network.named_parameters())
    return {name: found[name] for name in PARAMETERS}


def assert_equal_gradients(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize("curriculum", [OFF, ON_AT_ONCE], ids=["switch off", "switch on"])
@pytest.mark.parametrize("inner_steps", [1, 3])
def test_a_whole_meta_update_moves_images_and_theta_as_the_paper_says(
    inner_steps: int, curriculum: CurriculumSettings, tmp_path: Path
) -> None:
    problem = make_problem(inner_steps, curriculum)
    fit(problem, 1, tmp_path)
    follow(problem, [LAMBDA if curriculum.enabled else 0.0])
    assert_same(problem)


def test_three_meta_updates_of_which_the_second_is_adversarial_follow_the_paper(tmp_path: Path) -> None:
    problem = make_problem(curriculum=CurriculumSettings(warm_up=1, weight=LAMBDA))
    fit(problem, 3, tmp_path)
    follow(problem, [0.0, LAMBDA, 0.0])
    assert_same(problem)


@pytest.mark.parametrize("curriculum", [OFF, ON_AT_ONCE], ids=["switch off", "switch on"])
def test_first_order_drops_the_inner_gradients_derivatives_from_the_theta_step_alone(
    curriculum: CurriculumSettings, tmp_path: Path
) -> None:
    problem = make_problem(2, curriculum, first_order=True)
    fit(problem, 1, tmp_path)
    follow(problem, [LAMBDA if curriculum.enabled else 0.0])
    assert_same(problem)


@pytest.mark.parametrize("chosen", [[0], [1], [0, 1]], ids=["first teacher", "second teacher", "both"])
def test_inversion_loss_and_its_image_gradient_equal_the_reference(chosen: list[int]) -> None:
    problem = make_problem()
    teachers = [problem.data.teachers.teachers[number] for number in chosen]
    terms, gradient = inversion_gradient(teachers, problem.data.bank.images, OFFSET, PRIORS)
    wanted = reference.teachers_loss([problem.plain.teachers[number] for number in chosen], problem.plain.bank, OFFSET)
    torch.testing.assert_close(terms["total"], wanted.detach(), rtol=1e-12, atol=0)
    assert_equal_gradients((gradient,), torch.autograd.grad(wanted, problem.plain.bank))


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_adversarial_gradient_reaches_support_and_query_images_exactly(inner_steps: int) -> None:
    module, data, plain = make_problem(inner_steps)
    plan = data.plan(0).adversarial
    outer = outer_loop(module.learner, module.learner.frozen_weights(), data.bank.episodes(plan), second_order=True)
    found = torch.autograd.grad(outer.loss, data.bank.images)
    wanted = outer_loss(plain.theta, plain_episodes(plan, plain.bank), plain.inner)
    assert_equal_gradients(found, torch.autograd.grad(wanted, plain.bank))
    per_image = found[0].flatten(2).norm(dim=2)[plan.classes[0][:, None], plan.slots[0]]
    assert (per_image > 1e-6).all()
    assert (per_image > 0).sum() == (found[0].flatten(2).norm(dim=2) > 0).sum()


@pytest.mark.parametrize("first_order", [False, True], ids=["second order", "first order"])
@pytest.mark.parametrize("inner_steps", [1, 3])
def test_outer_loss_summed_over_four_episodes_and_its_meta_gradient_equal_the_reference(
    inner_steps: int, first_order: bool
) -> None:
    problem = make_problem(inner_steps, first_order=first_order)
    module, data, plain = problem
    plan = data.plan(0).meta_batch
    assert len(plan.classes) == 4
    outer = outer_loop(
        module.learner, module.learner.weights(), data.bank.episodes(plan), second_order=module.learner.second_order
    )
    wanted = outer_loss(plain.theta, plain_episodes(plan, plain.bank), plain.inner)
    torch.testing.assert_close(outer.loss, wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(outer.difficulty, wanted.detach() / 4, rtol=1e-12, atol=0)
    found = torch.autograd.grad(outer.loss, tuple(theta(problem).values()))
    assert_equal_gradients(found, torch.autograd.grad(wanted, plain.theta))


def test_second_order_is_another_gradient_than_first_order() -> None:
    gradients = []
    for first_order in (False, True):
        problem = make_problem(3, first_order=first_order)
        episodes = problem.data.bank.episodes(problem.data.plan(0).meta_batch)
        weights = problem.module.learner.weights()
        loss = outer_loop(problem.module.learner, weights, episodes, second_order=not first_order).loss
        gradients.append(torch.autograd.grad(loss, theta(problem)["blocks.0.0.weight"])[0])
    assert (gradients[0] - gradients[1]).norm() > 1e-3 * gradients[0].norm()


def test_the_adversarial_data_step_leaves_no_gradient_on_theta() -> None:
    problem = make_problem()
    module, data, _ = problem
    episodes = data.bank.episodes(data.plan(0).adversarial)
    torch.autograd.backward(
        outer_loop(module.learner, module.learner.frozen_weights(), episodes, second_order=True).loss
    )
    assert data.bank.images.grad is not None
    assert all(parameter.grad is None for parameter in theta(problem).values())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_image_gradient_equals_finite_differences_along_random_directions(seed: int) -> None:
    module, data, _ = make_problem(2, way=2)
    start = data.bank.images.detach().clone()
    plan = data.plan(0).adversarial

    def evaluate(images: Tensor) -> tuple[float, Tensor]:
        data.bank.images = images.detach().clone().requires_grad_()
        terms, gradient = inversion_gradient(data.teachers.teachers, data.bank.images, OFFSET, PRIORS)
        outer = outer_loop(module.learner, module.learner.frozen_weights(), data.bank.episodes(plan), second_order=True)
        gradient = gradient - LAMBDA * torch.autograd.grad(outer.loss, data.bank.images)[0]
        return (terms["total"] - LAMBDA * outer.loss).item(), gradient

    direction = torch.randn(start.shape, generator=torch.Generator().manual_seed(seed), dtype=start.dtype)
    reach = 1e-6
    difference = (evaluate(start + reach * direction)[0] - evaluate(start - reach * direction)[0]) / (2 * reach)
    assert (evaluate(start)[1] * direction).sum().item() == pytest.approx(difference, rel=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_meta_gradient_equals_finite_differences_along_random_directions(seed: int) -> None:
    problem = make_problem(2, way=2)
    module, data, _ = problem
    episodes = data.bank.episodes(data.plan(0).meta_batch)
    rng = torch.Generator().manual_seed(seed)
    direction = {name: torch.randn(p.shape, generator=rng, dtype=p.dtype) for name, p in theta(problem).items()}

    def moved(reach: float) -> float:
        weights = {name: (p + reach * direction[name]).detach() for name, p in theta(problem).items()}
        return outer_loop(module.learner, weights, episodes, second_order=False).loss.item()

    loss = outer_loop(module.learner, module.learner.weights(), episodes, second_order=True).loss
    gradients = torch.autograd.grad(loss, tuple(theta(problem).values()))
    slope = sum((g * d).sum().item() for g, d in zip(gradients, direction.values(), strict=True))
    assert slope == pytest.approx((moved(1e-6) - moved(-1e-6)) / 2e-6, rel=1e-5)


def test_an_adversarial_meta_update_runs_in_support_mode(tmp_path: Path) -> None:
    problem = make_problem()
    problem.module.learner.batchnorm = "support"
    before = {name: value.clone() for name, value in theta(problem).items()}
    fit(problem, 1, tmp_path)
    assert all(not torch.equal(before[name], value) for name, value in theta(problem).items())
