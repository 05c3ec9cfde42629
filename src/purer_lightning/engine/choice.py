"""Which engine computes a run: one setting, by which a configuration's section ``engine`` chooses the backend."""

from collections.abc import Callable
from typing import Any, Literal

from purer_lightning.compute.backend import PLAIN, Backend, Engine, Run
from purer_lightning.engine.batched_episodes import BatchedEpisodes, can_be_batched
from purer_lightning.engine.batched_scores import BatchedScores
from purer_lightning.engine.batched_teachers import AT_ONCE, BatchedTeachers
from purer_lightning.engine.blocks import FusedSkeletons
from purer_lightning.engine.compilation import library
from purer_lightning.engine.priors import fused_pixel_norms
from purer_lightning.errors import PurerError
from purer_lightning.evaluation.scoring import score_episodes
from purer_lightning.inversion.gradient import inversion_gradient
from purer_lightning.inversion.priors import pixel_norms
from purer_lightning.objectives.episodic import Episodic
from purer_lightning.training.gradient import episode_gradients

Choice = Literal["auto", "plain", "compiled", "batched"]

# Compiling takes five seconds, once a machine. A meta-update of the paper's size saves nearly one, an episode of
# evaluation 0.1: benchmarks/README.md. Runs of fewer are not worth a compiler's start.
LEAST_UPDATES, LEAST_EPISODES = 50, 100
NOT_MIXED = "Running the plain engine, since batches of networks are not computed in mixed precision."


class EngineChoice(Engine):
    """Chooses the backend of a fit or an evaluation; results agree to rounding.

    Args:
        choice: "plain": PyTorch's own operations. "compiled": on a CPU, fused kernels that a C++ compiler makes in a
            few seconds, once a machine; without a compiler plain, and it says so. "batched": the teachers of one
            structure in batches, and for MAML and ANIL the episodes of an update, or of a test batch, in one; meant
            for GPUs, where nobody has measured it yet, and slower on a CPU. "auto": compiled on a CPU where the run is
            long enough to earn the compilation back (50 meta-updates, or 100 episodes of an evaluation), else plain.
            In mixed precision all is plain.
        teachers_at_once: how many teachers a batch has at most; fewer need less memory. With
            ``data.resident_teachers``, no more than that many either.

    Raises:
        PurerError: ``teachers_at_once`` below 1.
    """

    def __init__(self, choice: Choice = "auto", teachers_at_once: int = AT_ONCE) -> None:
        if teachers_at_once < 1:
            raise PurerError(f"Expected engine.teachers_at_once to be at least 1, but got {teachers_at_once}.")
        self.choice, self.teachers_at_once = choice, teachers_at_once

    def backend(self, run: Run) -> Backend:
        """Return the backend of a run. ``auto`` goes by settings alone, so a resumed run computes the same bits."""
        mixed = run.precision.endswith("-mixed")
        if self.choice == "batched":
            return Backend(remark=NOT_MIXED) if mixed else self.batched(run)
        long = is_long(run.updates, LEAST_UPDATES) or is_long(run.episodes, LEAST_EPISODES)
        wanted = self.choice == "compiled" or (self.choice == "auto" and long)
        return compiled() if wanted and run.device.type == "cpu" and not mixed else PLAIN

    def batched(self, run: Run) -> Backend:
        """Return a backend that computes teachers and episodes in batches as far as that goes."""
        resident = run.resident_teachers
        at_once = self.teachers_at_once if resident is None else min(self.teachers_at_once, resident)
        operations: dict[Callable[..., Any], Callable[..., Any]] = {}
        if run.objective is not None:
            operations[inversion_gradient] = BatchedTeachers(at_once, keep=resident is None)
        able = can_be_batched(run.learner)
        if able:
            operations[score_episodes] = BatchedScores()
        if able and type(run.objective) is Episodic:
            operations[episode_gradients] = BatchedEpisodes()
        return Backend(operations, remark=remark(run, able))


def remark(run: Run, able: bool) -> str:
    """Return one sentence on what of a run stays plain; an empty one where nothing does."""
    learner = type(run.learner).__name__
    if run.objective is None:
        return "" if able else f"Running the plain engine, since {learner} is not batched."
    if able and type(run.objective) is Episodic:
        return ""
    what = f"the theta step of {type(run.objective).__name__} with {learner} is plain."
    return f"The batched engine asks the teachers in batches; {what}"


def is_long(steps: int | None, least: int) -> bool:
    """Whether there are at least ``least`` steps; a number below 0 means no limit, None means no steps."""
    return steps is not None and not 0 <= steps < least


def compiled() -> Backend:
    """Return the backend with compiled kernels; the plain one where they cannot be made, with the reason."""
    fresh = library.cache_info().currsize == 0  # else this process has said it before
    kernels = library()
    if kernels.functions is None:
        return Backend(
            one_pass=True,
            remark=f"Running the plain engine, since {kernels.problem}; results are the same, training takes longer.",
        )
    took = f"Compiled the kernels in {kernels.compile_seconds:.1f} s; they are kept for later runs."
    return Backend(
        {pixel_norms: fused_pixel_norms},
        FusedSkeletons(),
        one_pass=True,
        remark=took if kernels.compile_seconds and fresh else "",
    )
