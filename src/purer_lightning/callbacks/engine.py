"""EngineCallback: lets a run's networks be computed by the faster engine where that pays."""

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch.optim import Optimizer

from purer_lightning.data.pseudo_episodes import PseudoEpisodeDataModule
from purer_lightning.engine import LEAST_EPISODES, LEAST_UPDATES, Engine, accelerate, wanted
from purer_lightning.engine.blocks import fuse
from purer_lightning.evaluation import IcfilEvaluation
from purer_lightning.training import PurerModule


class EngineCallback(Callback):
    """Chooses how the networks of ``PurerModule`` or ``IcfilEvaluation`` are computed; results agree to rounding.

    Args:
        choice: "plain": by PyTorch's own operations. "compiled": on a CPU, by fused kernels that a C++ compiler makes
            in a second or two, once a machine; without a compiler plain, which it says. "auto": compiled where the
            run is long enough to earn that back: 50 meta-updates, or 100 episodes of an evaluation.
    """

    def __init__(self, choice: Engine = "auto") -> None:
        self.choice = choice

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Accelerate the teachers, the meta-model and the objective's networks."""
        if isinstance(pl_module, PurerModule) and self._is_wanted(trainer, trainer.max_steps, LEAST_UPDATES):
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
        if isinstance(pl_module, IcfilEvaluation) and self._is_wanted(trainer, episodes, LEAST_EPISODES):
            say(accelerate(pl_module.learner.networks()))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same for ``Trainer.validate``; within a fit all is done."""
        if trainer.validating:
            self.on_test_start(trainer, pl_module)

    def _is_wanted(self, trainer: Trainer, steps: int, least: int) -> bool:
        mixed = str(trainer.precision).endswith("-mixed")  # the kernels know no bfloat16
        return trainer.strategy.root_device.type == "cpu" and not mixed and wanted(self.choice, steps, least)


def in_one_pass(optimizer: Optimizer, wanted: bool) -> None:
    """Let Adam pass once over parameters and moments, or as often as PyTorch does by default; equal to rounding."""
    for group in optimizer.param_groups:
        group["fused"] = wanted or None


def say(sentence: str) -> None:
    """Print what there is to say, on the first rank."""
    if sentence:
        rank_zero_info(sentence)
