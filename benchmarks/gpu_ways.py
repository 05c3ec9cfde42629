"""The ways to make a meta-update, or its two gradients, that ``gpu.py`` times."""

import copy
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from parts import Part, flat
from problem import Problem, Setting
from purer_lightning.compute import backend
from purer_lightning.compute.backend import Run
from purer_lightning.engine.batched_episodes import BatchedEpisodes, Task
from purer_lightning.engine.batched_scores import BatchedScores
from purer_lightning.engine.batched_teachers import BatchedTeachers
from purer_lightning.engine.choice import EngineChoice
from purer_lightning.episode import draw_plan
from purer_lightning.evaluation import IcfilEvaluation
from purer_lightning.evaluation.scoring import score_episodes
from purer_lightning.inversion.gradient import draw_jitter
from purer_lightning.learners.maml import Maml
from purer_lightning.pool.teachers import Teacher
from purer_lightning.seeding import generator

SCORED = 16
PLAIN, LOOPED, BATCHED = "plain", "product, plain engine", "product, batched"
LAYOUTS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}  # the package has the first
Way = Callable[[], Any]
Network = TypeVar("Network", bound=nn.Module)
Gradient = Callable[..., Tensor]


def clock_of(device: torch.device) -> Callable[[], float]:
    """Return a clock that waits for the device's work first."""

    def clock() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


class Engines:
    """A problem on a device, whose module can be switched from one engine to the other and back."""

    def __init__(
        self, setting: Setting, device: torch.device, at_once: int, dtype: torch.dtype = torch.float32
    ) -> None:
        self.problem = Problem(setting, dtype, device)
        self.problem.attach()
        module = self.problem.module
        run = Run(device, "32-true", updates=1, learner=module.learner, objective=module.objective)
        self._ways = {LOOPED: backend.PLAIN, BATCHED: EngineChoice("batched", at_once).backend(run)}

    def switch(self, name: str) -> None:
        """Let the module compute by this engine."""
        self.problem.use(self._ways[name])

    def ways(self, part: Part) -> dict[str, Way]:
        """Return the ways to compute a part."""

        def product(name: str) -> None:
            self.switch(name)
            part.product()

        return {PLAIN: part.plain} | {name: partial(product, name) for name in self._ways}


def compiled(function: Gradient, *given: Tensor) -> Way:
    """Trace a gradient, derivatives of derivatives too, into one graph of operations, and compile that."""
    graph = torch.compile(make_fx(function)(*given), dynamic=False)
    return partial(graph, *given)


def captured(function: Gradient, *given: Tensor) -> Way:
    """Return the replay of a gradient as one CUDA graph: launched once, whatever it consists of."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function(*given)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = function(*given)

    def replay() -> Tensor:
        graph.replay()
        return kept

    return replay


class BatchedGradient(NamedTuple):
    """A gradient that the product computes in batches, without the plan and the sums around it.

    Attributes:
        plain: the reference's.
        batched: the same as a function of images.
        given: those images.
    """

    plain: Way
    batched: Gradient
    given: tuple[Tensor, ...]


def gradients_of(problem: Problem, at_once: int, layout: torch.memory_format) -> dict[str, BatchedGradient]:
    """Return both of an update's, with weights of this layout.

    The jitter is a constant of the function: a graph of it serves one of 25 offsets.
    """
    module, plain = problem.module, problem.plain
    plan, jitter = problem.data.plan(0).meta_batch, draw_jitter(module.seed, 0)
    batched_teachers, batched_episodes, learner = BatchedTeachers(at_once), BatchedEpisodes(), module.learner
    assert isinstance(learner, Maml)
    learner = laid_out(learner, layout)
    teachers = [Teacher(each.record, laid_out(each.network, layout), each.classes) for each in module.pool.teachers]
    halves = Task.of(module.synthesis.bank.episodes(plan))

    def inversion(images: Tensor) -> Tensor:
        return batched_teachers(teachers, images, jitter, module.priors)[1]

    def meta(support: Tensor, query: Tensor) -> Tensor:
        tasks = (half._replace(images=images) for half, images in zip(halves, (support, query), strict=True))
        return batched_episodes.gradients(learner, *tasks)[0].sum(dim=0)

    return {
        "inversion gradient": BatchedGradient(
            lambda: plain.inversion_gradient(jitter), inversion, (module.synthesis.bank.images.detach(),)
        ),
        "meta-gradient": BatchedGradient(
            lambda: flat(plain.meta_gradient(plan)), meta, tuple(half.images.detach() for half in halves)
        ),
    }


def laid_out(network: Network, layout: torch.memory_format) -> Network:
    """Return a copy whose convolutions have their weights in this layout, which decides that of activations."""
    other: Network = copy.deepcopy(network).to(memory_format=layout)  # type: ignore[call-overload]
    return other


def scoring_ways(problem: Problem) -> dict[str, Way]:
    """Return how the package scores ``SCORED`` test episodes with ICFIL; the plain engine is the reference here."""
    module = problem.module
    learner = copy.deepcopy(module.learner).eval()
    evaluation = IcfilEvaluation(learner)
    plan = draw_plan(
        module.synthesis.bank.counts, SCORED, learner.way, 1, problem.data.query, 0, generator(0, "benchmark scores")
    )
    episodes = [
        episode._replace(support=episode.support.detach(), query=episode.query.detach(), id=number)
        for number, episode in enumerate(module.synthesis.bank.episodes(plan))
    ]
    assert isinstance(learner, Maml)
    given = (learner, episodes, evaluation.calibration, evaluation.seed)
    return {PLAIN: lambda: score_episodes(*given), BATCHED: lambda: BatchedScores()(*given)}
