"""PurerModule: the paper's algorithm. ``training_step`` is one meta-update; everything else here serves it."""

from functools import partial
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from purer_lightning.compute.backend import PLAIN, Backend, Engine, Run
from purer_lightning.compute.ranks import Ranks, shaped
from purer_lightning.compute.threads import one_thread
from purer_lightning.episode import Episode
from purer_lightning.errors import PurerError
from purer_lightning.evaluation.metrics import PLAIN as PLAIN_METHOD
from purer_lightning.evaluation.metrics import EpisodeAccuracy, interval, log_row
from purer_lightning.evaluation.scoring import score_episodes
from purer_lightning.inversion.curriculum import CurriculumSettings, GradientSwitch
from purer_lightning.inversion.gradient import draw_jitter, inversion_gradient
from purer_lightning.inversion.loss import Terms
from purer_lightning.inversion.priors import InversionSettings
from purer_lightning.inversion.synthesis import Synthesis
from purer_lightning.learners.base import Learner
from purer_lightning.learners.loading import check_meta_model, describe_for_loading
from purer_lightning.objectives import Episodic, Objective
from purer_lightning.pool.average import average_of_teachers
from purer_lightning.pool.teachers import Pool
from purer_lightning.training.checks import check_finite, check_settings, check_trainer, take_scaler
from purer_lightning.training.data_module import PseudoEpisodeDataModule, UpdatePlan
from purer_lightning.training.gradient import MetaGradient, adversarial_gradient, meta_gradient
from purer_lightning.training.judge import UpdateJudge
from purer_lightning.training.schedule import Schedule, check_schedule, one_cycle, set_rate


class PurerModule(LightningModule):
    """Trains a meta-model on pseudo episodes while inverting the pool's teachers into their images (PURER).

    Args:
        learner: the meta-model and how it adapts.
        curriculum: the Gradient Switch; disabled is EI, enabled ECI.
        inversion: the inversion's priors and their weights.
        image_lr: learning rate of the images, Adam's on the bank; 0.25 in the released code.
        meta_lr: Adam's rate on the meta-model; 1e-3 in the released code.
        meta_schedule: "constant", as in the released code, or "one_cycle": up to ``meta_lr`` in the first tenth of
            ``trainer.max_steps``, then down to nothing (Smith & Topin 2019).
        data_step_every: meta-updates to a data step; 1 in the paper, 0 for none after the initial inversion but
            those for which the Gradient Switch has fired; a negative number is refused.
        objective: what the theta step minimises; few-shot episodes in the paper.
        start_from_average: start from the teachers' parameter average, as the released scripts do; needs teachers of
            the meta-model's architecture.
        seed: every draw follows from it; linked to the run's seed.
        engine: chooses the run's backend; plain for None; linked to the engine's section.

    Attributes:
        backend: how the run computes; known from ``choose_backend`` on.
    """

    data: PseudoEpisodeDataModule
    synthesis: Synthesis
    pool: Pool

    def __init__(
        self,
        learner: Learner,
        curriculum: CurriculumSettings | None = None,
        inversion: InversionSettings | None = None,
        image_lr: float = 0.25,
        meta_lr: float = 1e-3,
        meta_schedule: Schedule = "constant",
        data_step_every: int = 1,
        objective: Objective | None = None,
        start_from_average: bool = False,
        seed: int = 0,
        engine: Engine | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.learner = learner
        self.switch = GradientSwitch(curriculum or CurriculumSettings())
        check_settings(data_step_every=data_step_every, image_lr=image_lr, meta_lr=meta_lr)
        check_settings("curriculum.", **vars(self.switch.settings))
        self.image_lr, self.meta_lr, self.meta_schedule = image_lr, meta_lr, meta_schedule
        self.priors, self.objective = (inversion or InversionSettings()).priors(), objective or Episodic()
        self.data_step_every, self.start_from_average, self.seed = data_step_every, start_from_average, seed
        self.engine, self.backend, self.validation_accuracy = engine, PLAIN, EpisodeAccuracy()

    def training_step(self, plan: UpdatePlan, batch_idx: int) -> None:
        """Make one meta-update: the data step, then the theta step, then the curriculum's feedback (paper, Alg. 1)."""
        del batch_idx  # the update is numbered by global_step: the one optimiser of the Trainer steps once in each
        difficulty_weight = self.switch.weight

        # Data step: min_D  sum_m L_EI(D_m) - lambda * I * L_outer(theta; S(D), Q(D)).
        inversion = self.data_step(self.global_step, difficulty_weight, plan) if self.data_step_is_due() else {}

        # theta step: min_theta  sum over the meta-batch of  L_outer(theta - a * grad L_inner(theta; S); Q).
        outer = meta_gradient(self.objective, self.learner, self.synthesis.bank, plan.meta_batch, Ranks.current())
        self.theta_step(outer.gradient)

        # Feedback: once the meta-model has mastered these images, the next ones become harder.
        self.switch.observe(outer.accuracy.item())
        check_finite(outer.difficulty, self.global_step)
        self.log_update(inversion, outer, fired=difficulty_weight > 0)

    def data_step_is_due(self) -> bool:
        """Whether this update moves the images: each ``data_step_every``-th does, and each the switch has fired for."""
        return self.switch.on or (self.data_step_every > 0 and self.global_step % self.data_step_every == 0)

    def data_step(self, update: int, difficulty_weight: float = 0.0, plan: UpdatePlan | None = None) -> Terms:
        """Let the synthesis move the images by what the update's teachers make of them; return the terms of L_EI.

        Args:
            update: number of the meta-update, from which the jitter is drawn.
            difficulty_weight: lambda * I.
            plan: holds the adversarial episode; needed where ``difficulty_weight`` is not 0.
        """
        ways = {"jitter": draw_jitter(self.seed, update), "priors": self.priors, "backend": self.backend}
        gradient = partial(self.backend.fast(inversion_gradient), ranks=Ranks.current(), **ways)
        hardness = partial(adversarial_gradient, self.objective, self.learner, plan=plan.adversarial) if plan else None
        teachers, classes = self.data.asked(update), self.data.moved(update)
        return self.synthesis.move(UpdateJudge(update, teachers, classes, gradient, hardness, difficulty_weight))

    def theta_step(self, gradient: Tensor) -> None:
        """Take one step of Adam on the meta-model.

        The gradient is that of ``meta_gradient``. No ``backward``: it would wake DDP's reducer, which cannot
        differentiate twice and knows nothing of uneven shares.
        """
        meta_optimizer = self.optimizers()
        assert not isinstance(meta_optimizer, list)  # it is the only one
        parameters = list(self.learner.parameters())
        for parameter, own in zip(parameters, shaped(gradient, parameters), strict=True):
            parameter.grad = own
        with one_thread():
            meta_optimizer.step()
        meta_optimizer.zero_grad()
        if self.meta_schedule != "constant":
            self.lr_schedulers().step()  # type: ignore[union-attr]

    def log_update(self, inversion: Terms, outer: MetaGradient, *, fired: bool) -> None:
        """Log one meta-update. Difficulty is the expected outer loss of the images for the current meta-model."""
        row: dict[str, float | Tensor] = {
            "train/outer_loss": outer.difficulty,
            "train/accuracy": outer.accuracy,
            "curriculum/step": float(self.global_step),
            "curriculum/difficulty": outer.difficulty,
            "curriculum/switch": float(fired),
            "curriculum/firings": float(self.switch.firings),
            "curriculum/patience": float(self.switch.waiting),
        }
        row |= {f"inversion/{name}": value for name, value in inversion.items()}
        self.log_dict(row, logger=False)  # for callbacks that watch a value
        if self.fabric is None:  # Fabric, by which the benchmarks drive this module, has none
            log_row(self.trainer, row, self.trainer.log_every_n_steps)  # type: ignore[attr-defined]
        self.log_dict({"difficulty": outer.difficulty, "accuracy": outer.accuracy}, prog_bar=True, logger=False)

    def validation_step(self, episodes: list[Episode], batch_idx: int) -> None:
        """Score real episodes of meta-val."""
        del batch_idx
        with torch.enable_grad():
            scored = self.backend.fast(score_episodes)(self.learner, episodes, None, self.seed)
        for episode, accuracy in zip(episodes, scored, strict=True):
            self.validation_accuracy.update(episode.id, accuracy[PLAIN_METHOD])

    def on_validation_epoch_end(self) -> None:
        """Log mean and interval over the episodes of all ranks."""
        _, accuracies = self.validation_accuracy.per_episode()
        self.validation_accuracy.reset()
        result = interval(accuracies.cpu())
        alone = self.trainer.state.fn != "fit"  # then Lightning's log is what Trainer.validate returns
        self.log("val/accuracy", result.mean, prog_bar=True, logger=alone)
        if not alone:
            log_row(self.trainer, {"val/accuracy": result.mean, "val/ci95": result.ci95})

    def setup(self, stage: str) -> None:
        """Take the pool and the synthesis of the images from the data module.

        Raises:
            PurerError: what ``check_trainer`` raises, or no images.
        """
        self.data = self.trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit":
            check_trainer(self.trainer)
            take_scaler(self.trainer)
            self.pool = self.data.teachers
            if not hasattr(self.data, "synthesis"):
                raise PurerError("The data module has no images; add callbacks.SynthesisCallback to trainer.callbacks.")
            self.synthesis = self.data.synthesis

    def choose_backend(self) -> Backend:
        """Choose how the run computes, once, and return it; a Trainer and its data module have to be there."""
        if self.engine is not None:
            trainer = self.trainer
            place, resident = trainer.strategy.root_device, trainer.datamodule.resident_teachers  # type: ignore[attr-defined]
            settings = (str(trainer.precision), trainer.max_steps, None, resident, self.learner, self.objective)
            self.backend, self.engine = self.engine.backend(Run(place, *settings)), None
            if self.backend.remark:
                rank_zero_info(self.backend.remark)
        return self.backend

    def configure_model(self) -> None:
        """Build the meta-model for the shape of the data's tasks; the Trainer calls it once or more.

        Raises:
            PurerError: a meta-model that cannot be trained by the objective.
        """
        if self.learner.spec is not None:
            return
        self.choose_backend()
        with torch.device("cpu"):  # Lightning would have a GPU draw the first weights: others than a CPU's
            self.learner.build(self.data.way, self.data.channels, self.data.image_size, self.seed, self.backend)
            if self.trainer.training:  # a Trainer that only validates loads no pool
                self.objective.setup(self.pool, self.learner, self.seed)
            if self.start_from_average:
                average_of_teachers(self.pool, self.learner.network)

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        """Adam on the meta-model and its schedule. The images' optimiser is their synthesis' own."""
        meta = torch.optim.Adam(self.learner.parameters(), lr=self.meta_lr)
        constant = self.meta_schedule == "constant"
        return [meta], [] if constant else [one_cycle(meta, self.meta_lr, self.trainer.max_steps)]

    def on_fit_start(self) -> None:
        """Give the teachers, which are no submodules, the images' device and dtype."""
        if without := self.pool.to(self.synthesis.bank.images):
            rank_zero_warn(f"No BatchNorm, so no R_feature in the inversion of: {', '.join(without)}.")

    def on_train_start(self) -> None:
        """Let the settings' learning rate win over that which a checkpoint's optimiser brings."""
        set_rate(self.trainer.optimizers[0], self.meta_lr)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the curriculum's state and what the meta-model is, in plain types."""
        checkpoint["curriculum"] = self.switch.state_dict()
        checkpoint["objective"] = self.objective.state_dict()
        checkpoint["meta_model"] = self.learner.describe() | describe_for_loading(self.learner, self.data.normalisation)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the curriculum.

        Raises:
            PurerError: a checkpoint of another meta-model or schedule.
        """
        check_meta_model(checkpoint, self.learner)
        if self.trainer.training:
            check_schedule(checkpoint, self.meta_schedule, self.trainer.max_steps)
        self.switch.load_state_dict(checkpoint["curriculum"])
        self.objective.load_state_dict(checkpoint.get("objective", {}))
