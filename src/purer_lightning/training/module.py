"""PurerModule: the paper's algorithm. ``training_step`` is one meta-update; everything else here serves it."""

from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from purer_lightning.compute.backend import PLAIN, Engine, Run
from purer_lightning.compute.ranks import Ranks, shaped
from purer_lightning.compute.threads import one_thread
from purer_lightning.episode import Episode
from purer_lightning.errors import PurerError
from purer_lightning.evaluation.metrics import PLAIN as PLAIN_METHOD
from purer_lightning.evaluation.metrics import EpisodeAccuracy, interval, log_row
from purer_lightning.evaluation.scoring import score_episodes
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.inversion.curriculum import CurriculumSettings, GradientSwitch
from purer_lightning.inversion.gradient import draw_jitter, inversion_gradient
from purer_lightning.inversion.loss import InversionTerms, InversionWeights
from purer_lightning.learners.base import Learner
from purer_lightning.learners.loading import check_meta_model, describe_for_loading
from purer_lightning.objectives import Episodic, Objective
from purer_lightning.pool.average import average_of_teachers
from purer_lightning.pool.teachers import Pool
from purer_lightning.training.checks import check_finite, check_settings, check_trainer, take_scaler
from purer_lightning.training.data_module import PseudoEpisodeDataModule, UpdatePlan
from purer_lightning.training.gradient import MetaGradient, adversarial_gradient, meta_gradient
from purer_lightning.training.schedule import Schedule, check_schedule, one_cycle, set_rate


class PurerModule(LightningModule):
    """Trains a meta-model on pseudo episodes while inverting the pool's teachers into their images (PURER).

    Args:
        learner: the meta-model and how it adapts.
        curriculum: the Gradient Switch; disabled is EI, enabled ECI.
        inversion: weights of the inversion's priors.
        image_lr: Adam's rate on the bank; 0.25 in the released code.
        meta_lr: Adam's rate on the meta-model; 1e-3 in the released code.
        meta_schedule: "constant", as in the released code, or "one_cycle": up to ``meta_lr`` in the first tenth of
            ``trainer.max_steps``, then down to nothing (Smith & Topin 2019).
        data_step_every: meta-updates to a data step; 1 in the paper, 0 for none after the initial inversion but
            those for which the Gradient Switch has fired; a negative number is refused.
        objective: what the theta step minimises; few-shot episodes in the paper.
        start_from_average: start from the teachers' parameter average, as the released scripts do; needs teachers of
            the meta-model's architecture.
        seed: every draw follows from it; linked to the run's seed.
        engine: chooses the run's backend; linked to the engine's section.

    Attributes:
        backend: how the run computes; known from ``configure_model`` on.
    """

    data: PseudoEpisodeDataModule
    bank: ImageBank
    pool: Pool

    def __init__(
        self,
        learner: Learner,
        curriculum: CurriculumSettings | None = None,
        inversion: InversionWeights | None = None,
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
        curriculum, inversion = curriculum or CurriculumSettings(), inversion or InversionWeights()
        check_settings(data_step_every=data_step_every, image_lr=image_lr, meta_lr=meta_lr)
        check_settings("curriculum.", **vars(curriculum))
        check_settings("inversion.", **vars(inversion))
        self.automatic_optimization = False
        self.learner = learner
        self.switch = GradientSwitch(curriculum)
        self.image_lr, self.meta_lr, self.meta_schedule = image_lr, meta_lr, meta_schedule
        self.inversion, self.objective = inversion, objective or Episodic()
        self.data_step_every, self.start_from_average, self.seed = data_step_every, start_from_average, seed
        self.validation_accuracy = EpisodeAccuracy()
        self.engine, self.backend = engine or Engine(), PLAIN

    def training_step(self, plan: UpdatePlan, batch_idx: int) -> None:
        """Make one meta-update: the data step, then the theta step, then the curriculum's feedback (paper, Alg. 1)."""
        del batch_idx  # the meta-update's number is global_step: exactly one wrapped optimiser step is made in each
        difficulty_weight = self.switch.weight

        # Data step: min_D  sum_m L_EI(D_m) - lambda * I * L_outer(theta; S(D), Q(D)).
        inversion = self.data_step(self.global_step, difficulty_weight, plan) if self.data_step_is_due() else None

        # theta step: min_theta  sum over the meta-batch of  L_outer(theta - a * grad L_inner(theta; S); Q).
        outer = meta_gradient(self.objective, self.learner, self.bank, plan.meta_batch, Ranks.current())
        self.theta_step(outer.gradient)

        # Feedback: has the meta-model mastered these images? Then the next ones shall be harder.
        self.switch.observe(outer.accuracy.item())
        check_finite(outer.difficulty, self.global_step)
        self.log_update(inversion, outer, fired=difficulty_weight > 0)

    def data_step_is_due(self) -> bool:
        """Whether this update moves the images: each ``data_step_every``-th does, and each the switch has fired for."""
        return self.switch.on or (self.data_step_every > 0 and self.global_step % self.data_step_every == 0)

    def data_step(self, update: int, difficulty_weight: float = 0.0, plan: UpdatePlan | None = None) -> InversionTerms:
        """Move the images of the classes that the update's teachers know by one step of Adam; return their terms.

        Args:
            update: number of the meta-update, from which the jitter is drawn.
            difficulty_weight: lambda * I.
            plan: holds the adversarial episode; needed where ``difficulty_weight`` is not 0.
        """
        jitter = draw_jitter(self.seed, update)
        teachers, moved = self.data.asked(update), self.data.moved(update)
        terms, gradient = self.backend.fast(inversion_gradient)(
            teachers, self.bank.images, jitter, self.inversion, Ranks.current(), moved, self.backend
        )
        if difficulty_weight > 0 and plan is not None:
            # One episode: each rank computes it alike.
            gradient -= difficulty_weight * adversarial_gradient(
                self.objective, self.learner, self.bank.only(moved), plan.adversarial
            )
        # The raw optimiser: only the theta step may count as a step of the Trainer.
        self.bank.step(self.optimizers()[1].optimizer, gradient, moved)  # type: ignore[index]
        return terms

    def theta_step(self, gradient: Tensor) -> None:
        """Take one step of Adam on the meta-model.

        The gradient is that of ``meta_gradient``. No ``backward``: it would wake DDP's reducer, which cannot
        differentiate twice and knows nothing of uneven shares.
        """
        meta_optimizer = self.optimizers()[0]  # type: ignore[index]
        parameters = list(self.learner.parameters())
        for parameter, own in zip(parameters, shaped(gradient, parameters), strict=True):
            parameter.grad = own
        with one_thread():
            meta_optimizer.step()
        meta_optimizer.zero_grad()
        if self.meta_schedule != "constant":
            self.lr_schedulers().step()  # type: ignore[union-attr]

    def log_update(self, inversion: InversionTerms | None, outer: MetaGradient, *, fired: bool) -> None:
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
        row |= inversion.logs() if inversion else {}
        self.log_dict(row, logger=False)  # for callbacks that watch a value
        if self.fabric is None:  # Fabric, by which the benchmarks drive this module, has no log
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
        """Take the pool and the bank from the data module.

        Raises:
            PurerError: what ``check_trainer`` raises, or no bank.
        """
        self.data = self.trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit":
            check_trainer(self.trainer)
            take_scaler(self.trainer)
            self.pool = self.data.teachers
            if not hasattr(self.data, "bank"):
                raise PurerError(
                    "The data module has no image bank: add purer_lightning.callbacks.SynthesisCallback to "
                    "trainer.callbacks."
                )
            self.bank = self.data.bank

    def configure_model(self) -> None:
        """Build the meta-model for the shape of the data's tasks; the Trainer calls it once or more.

        Raises:
            PurerError: a meta-model that cannot be trained by the objective.
        """
        if self.learner.spec is not None:
            return
        trainer = self.trainer
        device, precision = trainer.strategy.root_device, str(trainer.precision)
        run = Run(
            device,
            precision,
            updates=trainer.max_steps,
            resident_teachers=self.data.resident_teachers,
            learner=self.learner,
            objective=self.objective,
        )
        self.backend = self.engine.backend(run)
        if self.backend.remark:
            rank_zero_info(self.backend.remark)
        with torch.device("cpu"):  # Lightning would have a GPU draw the first weights: others than a CPU's
            self.learner.build(self.data.way, self.data.channels, self.data.image_size, self.seed, self.backend)
            if self.trainer.training:  # a Trainer that only validates loads no pool
                self.objective.setup(self.pool, self.learner, self.seed)
            if self.start_from_average:
                average_of_teachers(self.pool, self.learner.network)

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        """Adam on the meta-model, Adam on the bank's images, the meta-model's schedule; all go into the checkpoint."""
        meta = torch.optim.Adam(self.learner.parameters(), lr=self.meta_lr)
        images = torch.optim.Adam(self.bank.rows(), lr=self.image_lr)
        if self.meta_schedule == "constant":
            return [meta, images], []
        return [meta, images], [one_cycle(meta, self.meta_lr, self.trainer.max_steps)]

    def on_fit_start(self) -> None:
        """Give the teachers, which are no submodules, the images' device and dtype."""
        if without := self.pool.to(self.bank.images):
            rank_zero_warn(f"No BatchNorm, so no R_feature in the inversion of: {', '.join(without)}.")

    def on_train_start(self) -> None:
        """Let the settings' learning rates win over those that a checkpoint's optimisers bring."""
        for optimizer, rate in zip(self.trainer.optimizers, (self.meta_lr, self.image_lr), strict=True):
            set_rate(optimizer, rate)
        for group in self.trainer.optimizers[1].param_groups:
            group["fused"] = self.backend.one_pass or None

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
