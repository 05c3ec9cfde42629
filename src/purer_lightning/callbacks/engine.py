"""EngineCallback: lets a run's networks be computed by the faster engine where that pays."""

from functools import partial

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch.optim import Optimizer

from purer_lightning.engine import LEAST_EPISODES, LEAST_UPDATES, Engine, accelerate, is_batched, wanted
from purer_lightning.engine.batched_episodes import BatchedEpisodes, can_be_batched
from purer_lightning.engine.batched_scores import BatchedScores
from purer_lightning.engine.batched_teachers import AT_ONCE, BatchedTeachers
from purer_lightning.engine.blocks import fuse
from purer_lightning.errors import PurerError
from purer_lightning.evaluation import IcfilEvaluation
from purer_lightning.evaluation.metrics import ICFIL
from purer_lightning.learners.maml import Maml
from purer_lightning.objectives import Episodic
from purer_lightning.training import PurerModule
from purer_lightning.training.data_module import PseudoEpisodeDataModule
from purer_lightning.training.gradient import meta_gradient

NOT_MIXED = "Running the plain engine, since batches of networks are not computed in mixed precision."


class EngineCallback(Callback):
    """Chooses how the networks of ``PurerModule`` or ``IcfilEvaluation`` are computed; results agree to rounding.

    Args:
        choice: "plain": by PyTorch's own operations. "compiled": on a CPU, by fused kernels that a C++ compiler makes
            in a few seconds, once a machine; without a compiler plain, which it says. "batched": the teachers of
            one structure in batches, and for MAML and ANIL the episodes of an update, or of a test batch, in one;
            meant for GPUs, where its gain has not been measured, and slower on a CPU. "auto": batched on CUDA; on a
            CPU compiled where the run is long enough to earn the compilation back: 50 meta-updates, or 100 episodes
            of an evaluation. In mixed precision all is plain.
        teachers_at_once: how many teachers a batch has at most; fewer need less memory. With
            ``data.resident_teachers``, no more than that many either.

    Raises:
        PurerError: ``teachers_at_once`` below 1.
    """

    def __init__(self, choice: Engine = "auto", teachers_at_once: int = AT_ONCE) -> None:
        if teachers_at_once < 1:
            raise PurerError(f"Expected engine.teachers_at_once to be at least 1, but got {teachers_at_once}.")
        self.choice, self.teachers_at_once = choice, teachers_at_once

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Accelerate the teachers, the meta-model and the objective's networks, or batch them."""
        if not isinstance(pl_module, PurerModule):
            return
        if is_batched(self.choice, trainer.strategy.root_device):
            say(NOT_MIXED if is_mixed(trainer) else in_batches(pl_module, self.teachers_at_once))
        elif self._is_wanted(trainer, trainer.max_steps, LEAST_UPDATES):
            teachers = pl_module.pool.networks(fuse)
            say(accelerate([*teachers, *pl_module.learner.networks(), *pl_module.objective.networks()]))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the images in one pass over them and Adam's moments instead of ten, whatever a checkpoint brought."""
        if isinstance(pl_module, PurerModule) and trainer.strategy.root_device.type == "cpu":
            in_one_pass(trainer.optimizers[1], self._is_wanted(trainer, trainer.max_steps, LEAST_UPDATES))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Accelerate the learner that is scored."""
        data: PseudoEpisodeDataModule = trainer.datamodule  # type: ignore[attr-defined]  # Lightning types it as absent
        episodes = data.validation_episodes if trainer.validating else data.test_episodes
        if not isinstance(pl_module, IcfilEvaluation):
            return
        if is_batched(self.choice, trainer.strategy.root_device):
            say(NOT_MIXED if is_mixed(trainer) else scored_in_batches(pl_module))
        elif self._is_wanted(trainer, episodes, LEAST_EPISODES):
            say(accelerate(pl_module.learner.networks()))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same for ``Trainer.validate``; within a fit all is done."""
        if trainer.validating:
            self.on_test_start(trainer, pl_module)

    def _is_wanted(self, trainer: Trainer, steps: int, least: int) -> bool:
        # The kernels know no bfloat16.
        on_cpu = trainer.strategy.root_device.type == "cpu"
        return on_cpu and not is_mixed(trainer) and wanted(self.choice, steps, least)


def in_batches(module: PurerModule, teachers_at_once: int = AT_ONCE) -> str:
    """Put batches in the place of both loops as far as that goes, and return one sentence on what stays plain."""
    resident = module.data.resident_teachers
    at_once = teachers_at_once if resident is None else min(teachers_at_once, resident)
    module.inversion_gradient = BatchedTeachers(at_once, keep=resident is None)
    if isinstance(module.learner, Maml) and can_be_batched(module.learner):
        scores = BatchedScores(module.learner, None, module.seed)
        module.accuracies = lambda _, episodes: scores(episodes)[0].unbind()
        if type(module.objective) is Episodic:
            module.meta_gradient = partial(meta_gradient, evaluate=BatchedEpisodes())
            return ""
    objective, learner = type(module.objective).__name__, type(module.learner).__name__
    return f"The batched engine asks the teachers in batches; the theta step of {objective} with {learner} is plain."


def scored_in_batches(evaluation: IcfilEvaluation) -> str:
    """Score the episodes of a batch at once if the learner allows, and return one sentence if it does not."""
    learner = evaluation.learner
    if not can_be_batched(learner):
        return f"Running the plain engine, since {type(learner).__name__} is not batched."
    assert isinstance(learner, Maml)
    calibration = evaluation.calibration if ICFIL in evaluation.accuracies else None
    evaluation.batched = BatchedScores(learner, calibration, evaluation.seed)
    return ""


def is_mixed(trainer: Trainer) -> bool:
    """Whether networks convolve in a narrower type than their weights have."""
    return str(trainer.precision).endswith("-mixed")


def in_one_pass(optimizer: Optimizer, wanted: bool) -> None:
    """Let Adam pass once over parameters and moments, or as often as PyTorch does by default; equal to rounding."""
    for group in optimizer.param_groups:
        group["fused"] = wanted or None


def say(sentence: str) -> None:
    """Print what there is to say, on the first rank."""
    if sentence:
        rank_zero_info(sentence)
