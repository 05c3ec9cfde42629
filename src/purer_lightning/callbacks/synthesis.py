"""SynthesisCallback: makes the images of a run, sharpens them before the first update, and saves them."""

from functools import partial
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from purer_lightning.callbacks.checkpoint import save_between_steps
from purer_lightning.errors import PurerError
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.inversion.synthesis import SYNTHESES, Synthesis, SynthesisTask, check_bank
from purer_lightning.plugs import by_name, subclass_of
from purer_lightning.running.progress import JobProgress
from purer_lightning.training import PurerModule
from purer_lightning.training.checks import weights_dtype
from purer_lightning.training.data_module import PseudoEpisodeDataModule

POOL = "pool"
IS_SYNTHESIS = subclass_of(Synthesis)  # type: ignore[type-abstract]  # mypy wants a class that can be made


class SynthesisCallback(Callback):
    """Feeds a ``PseudoEpisodeDataModule`` with images through a run of ``PurerModule``.

    During training each data step of ``PurerModule`` moves the images, so the next episodes see them.

    Args:
        initial_steps: data steps (without adversarial term) before the first meta-update. 0 in the released code,
            whose images start as noise and sharpen while the meta-model already learns from them. A run may be
            stopped and saved between two of them.
        source: where the images come from. "pool": inverted from the pool's teachers, pixel by pixel. "real": the real
            images that the teachers were trained on, the ceiling that no data-free method can pass. The run prints
            a warning, and data steps must be switched off. Other names are those of installed packages.
        on_disk: keep the bank and Adam's moments of it in memory-mapped files in the run folder, one set a rank, for
            pools of so many classes that they do not fit into memory (docs/scaling.md). On CPUs alone.
        method: a synthesis of your own by its class path, in the place of ``source``: docs/extend.md.

    Raises:
        PurerError: a method beside a source, or one of ours as a method.
    """

    def __init__(
        self, initial_steps: int = 0, source: str = POOL, on_disk: bool = False, method: Synthesis | None = None
    ) -> None:
        if method is not None and source != POOL:
            raise PurerError(
                f"Images come from one place, but there are synthesis.source '{source}' and synthesis.method "
                f"{type(method).__name__}; leave one of them out."
            )
        for name, known in SYNTHESES.items():
            if type(method) is known:  # so that a report and a model card can tell a ceiling by one name
                raise PurerError(f"{known.__name__} has a name: set synthesis.source to {name}, and leave method out.")
        self.source, self.initial_steps, self.on_disk = source, initial_steps, on_disk
        self.synthesis = method or by_name("syntheses", source, SYNTHESES, IS_SYNTHESIS)()
        if method is not None:
            self.source = f"{type(method).__module__}.{type(method).__qualname__}"
        self._fits = False
        self._steps_done = 0  # of the initial ones

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the first images.

        Raises:
            PurerError: data steps for images that never move, what ``Synthesis.setup`` raises, or wrong images.
        """
        if stage != "fit" or not isinstance(pl_module, PurerModule):
            return
        self._fits = True
        data: PseudoEpisodeDataModule = trainer.datamodule  # type: ignore[attr-defined]  # Lightning types it as absent
        if not self.synthesis.moves:
            self._check_no_data_steps(pl_module)
        task = SynthesisTask(
            data.teachers,
            data.images_per_class,
            data.shot,
            data.query,
            data.seed,
            pl_module.image_lr,
            trainer.strategy.root_device,
            weights_dtype(trainer),
            data.root,
            Path(trainer.default_root_dir) if self.on_disk else None,
            one_pass=pl_module.choose_backend().one_pass,
        )
        self.synthesis.setup(task)
        check_bank(self.synthesis, task)
        data.synthesis = self.synthesis
        if not self.synthesis.data_free:
            say_that_it_is_a_ceiling(self.synthesis.bank)

    def _check_no_data_steps(self, pl_module: PurerModule) -> None:
        curriculum = pl_module.switch.settings.enabled
        if self.initial_steps > 0 or pl_module.data_step_every > 0 or curriculum:
            raise PurerError(
                f"Expected no data steps on the images of synthesis.source '{self.source}', which stay as they are, "
                f"but synthesis.initial_steps is {self.initial_steps}, model.data_step_every is "
                f"{pl_module.data_step_every} and model.curriculum.enabled {str(curriculum).lower()}; set them to 0, 0 "
                "and false, or synthesis.source to pool."
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run what is left of the initial inversion before the first update.

        Raises:
            Interrupted: see ``LastCheckpoint``.
        """
        if trainer.global_step > 0 or not isinstance(pl_module, PurerModule):
            return
        total, done = self.initial_steps, self._steps_done
        shown = trainer.is_global_zero and trainer.progress_bar_callback is not None and done < total
        with JobProgress("initial inversion", "steps", total, done=done, enabled=shown) as job:
            while self._steps_done < total:
                # Negative updates: their random numbers are not used again.
                with trainer.precision_plugin.train_step_context():
                    loss = pl_module.data_step(self._steps_done - total)["total"]
                self._steps_done += 1
                job.advance_to(self._steps_done, partial("loss {:.1f}".format, loss))
                save_between_steps(trainer, f"step {self._steps_done} of {total} of the initial inversion")

    def state_dict(self) -> dict[str, Any]:
        """What the synthesis keeps, its name, and the initial steps done."""
        if not self._fits:
            return {}
        done = {"initial_steps_done": self._steps_done} if self._steps_done else {}
        return {"source": self.source, **done, **self.synthesis.state_dict()}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take a checkpoint of 0.1.0, too."""
        del trainer, pl_module
        bring_up_to_date(checkpoint, self.state_key)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the saved images back.

        Raises:
            PurerError: the checkpoint's images are of another synthesis, or what its ``load_state_dict`` raises.
        """
        if not self._fits:
            return
        if state_dict["source"] != self.source:
            raise PurerError(
                f"The checkpoint's run had synthesis.source '{state_dict['source']}', but this one has "
                f"'{self.source}'; resume with the settings of the checkpoint's run."
            )
        self._steps_done = state_dict.get("initial_steps_done", 0)
        self.synthesis.load_state_dict(state_dict)


def bring_up_to_date(checkpoint: dict[str, Any], key: str) -> None:
    """Rewrite, in place, a checkpoint of 0.1.0, in which the images' optimiser was the Trainer's second.

    Args:
        checkpoint: as torch has loaded it.
        key: of the callback's state in it.
    """
    state = checkpoint["callbacks"].get(key)
    if state and len(checkpoint["optimizer_states"]) > 1:
        moments = checkpoint["optimizer_states"].pop()
        state.setdefault("source", POOL)
        if state["source"] == POOL:
            state["optimizer"] = moments


@rank_zero_only
def say_that_it_is_a_ceiling(bank: ImageBank) -> None:
    """Print one loud line on standard error, so that nobody takes the run's result for a data-free one."""
    classes, each = bank.images.shape[:2]
    Console(stderr=True).print(
        f"Ceiling: trained on the real meta-train images ({classes} classes of {each}), not data-free.",
        style="bold red",
        highlight=False,
        soft_wrap=True,
    )
