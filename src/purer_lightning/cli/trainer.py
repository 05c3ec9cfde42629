"""fit, validate and test by LightningCLI: one YAML describes training and evaluation of one row of a results table."""

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException

from purer_lightning.callbacks import (
    DriftCallback,
    GalleryCallback,
    LastCheckpoint,
    SummaryCallback,
    SynthesisCallback,
)
from purer_lightning.callbacks.checkpoint import AtomicCheckpointIO
from purer_lightning.callbacks.progress import with_progress
from purer_lightning.cli.config_file import ConfigFile
from purer_lightning.cli.quiet import quieten
from purer_lightning.compute.memory import keep_freed_memory
from purer_lightning.engine.choice import EngineChoice
from purer_lightning.errors import PurerError
from purer_lightning.evaluation import IcfilEvaluation
from purer_lightning.evaluation.icfil import CalibrationSettings
from purer_lightning.evaluation.metrics import in_words
from purer_lightning.learners.heads import HEADS
from purer_lightning.nets import NETWORKS
from purer_lightning.pool.manifest import read_manifest
from purer_lightning.running.checkpoints import BEST, FOLDER
from purer_lightning.running.csv_log import CsvLog
from purer_lightning.running.names import RESULTS
from purer_lightning.running.resuming import end_interrupted, find_checkpoint, say, say_differences, settings_of
from purer_lightning.running.run_folder import (
    is_first_rank,
    is_own,
    make_writable,
    output_folder,
    remove_unbegun,
    run_folder,
    run_lock,
    still_to_make,
    written_folder,
)
from purer_lightning.running.signals import Interrupted, handlers_kept
from purer_lightning.running.slurm import check_tasks, device_count
from purer_lightning.running.tracking import WandbRun, WandbSettings, settled_mode
from purer_lightning.training import PurerModule
from purer_lightning.training.data_module import PseudoEpisodeDataModule

TRAINER_DEFAULTS = {
    "inference_mode": False,  # adaptation needs gradients in validation and test
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 1,  # each firing of the switch is in metrics.csv
    "enable_model_summary": False,
    "use_distributed_sampler": False,  # the data module strides over ids; two strides would lose some
}
# The sections of a configuration, for the sentence about a misspelt key.
GROUPS = {
    "model": PurerModule,
    "data": PseudoEpisodeDataModule,
    "evaluation": IcfilEvaluation,
    "evaluation.calibration": CalibrationSettings,
    "engine": EngineChoice,
    "synthesis": SynthesisCallback,
    "drift": DriftCallback,
    "gallery": GalleryCallback,
    "summary": SummaryCallback,
    "checkpoint": ModelCheckpoint,
    "last_checkpoint": LastCheckpoint,
    "wandb": WandbSettings,
    "trainer": Trainer,
}


class PurerCLI(LightningCLI):
    """LightningCLI with a run folder, and with IcfilEvaluation in the model's place for validate and test."""

    settings: Mapping[str, Any] = {}  # of a fit
    made: Sequence[Path] = ()  # folders, for this command

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.locks = ExitStack()
        try:
            with self.locks:
                super().__init__(*arguments, **settings)
        except PurerError:
            if is_first_rank():
                remove_unbegun(self.made)
            raise

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add our own sections beside model, data and trainer."""
        parser.add_argument("--run", type=str | None, default=None, help="run folder (default: runs/<config's name>)")
        parser.add_class_arguments(IcfilEvaluation, "evaluation")
        parser.link_arguments("model", "evaluation.learner", lambda model: model.learner, apply_on="instantiate")
        for target in ("data.seed", "model.seed", "evaluation.seed"):
            parser.link_arguments("seed_everything", target)
        parser.add_class_arguments(EngineChoice, "engine")
        for target in ("model.engine", "evaluation.engine"):
            parser.link_arguments("engine", target, apply_on="instantiate")
        parser.add_lightning_class_args(SynthesisCallback, "synthesis")
        parser.add_lightning_class_args(DriftCallback, "drift")
        parser.add_lightning_class_args(GalleryCallback, "gallery")
        parser.add_lightning_class_args(SummaryCallback, "summary")
        parser.add_class_arguments(WandbSettings, "wandb")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_lightning_class_args(LastCheckpoint, "last_checkpoint")
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/accuracy",
                "checkpoint.mode": "max",
                "checkpoint.filename": Path(BEST).stem,
                "checkpoint.enable_version_counter": False,
            }
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; without the base class's warning against given arguments, since ours come from ``cli.main``."""
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Leave the settings as the user gave them: the base class merges a checkpoint's and imports them."""

    def before_instantiate_classes(self) -> None:
        """Settle the run folder before anything is made that writes into it, and what follows from what was asked."""
        config, subcommand = self.config[self.subcommand], str(self.subcommand)
        self.save_config_kwargs["asked"] = config.clone()
        self._dump_config()
        settings = config.model.learner.init_args if config.model.learner else {}
        for registry, key in ((NETWORKS, "architecture"), (HEADS, "head")):  # what the user has written may be imported
            registry.name(str(settings.get(key, "")), f"model.learner.init_args.{key}")
        devices = device_count(config.trainer.devices, config.trainer.accelerator)
        check_tasks(os.environ, devices, config.trainer.num_nodes)
        run = run_folder(config)
        folder = written_folder(run, subcommand)
        self.made = still_to_make(folder)
        make_writable(folder)
        if is_first_rank():  # the others write for it
            self.locks.enter_context(run_lock(run, subcommand))
        output_folder(run, subcommand, goes_on=is_own(config.get("ckpt_path"), run))
        checkpoint = find_checkpoint(config.get("ckpt_path"), run, subcommand)
        config.ckpt_path = str(checkpoint.path) if checkpoint else None
        config.trainer.default_root_dir = str(folder)
        config.checkpoint.dirpath = str(folder / FOLDER)
        config.evaluation.run = str(folder)
        config.trainer.use_distributed_sampler = False
        config.weights_only = True  # Lightning's own default depends on the file's place
        _settle_epochs(config)
        if subcommand == "fit":
            self.settings = settings_of(self.config_dump)
            say_differences(checkpoint.content if checkpoint else {}, self.settings)

    def instantiate_classes(self) -> None:
        """Make the classes; validate and test run the evaluation instead of the training module."""
        super().instantiate_classes()
        if self.subcommand in ("validate", "test"):
            evaluation: LightningModule = self._get(self.config_init, "evaluation")
            self.model = evaluation
            if not self.config[self.subcommand].get("ckpt_path"):
                rank_zero_info("No --ckpt_path: what is scored has not been meta-trained.")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Log into metrics.csv of the run folder and, where that is asked for, into W&B; beside loggers given."""
        config = self.config[self.subcommand]
        trainer = self._get(self.config_init, "trainer")
        given = trainer["logger"]
        if given is not False:
            loggers: list[Logger] = [CsvLog(config.trainer.default_root_dir), *self.wandb_run()]
            if given not in (None, True):
                loggers += given if isinstance(given, list) else [given]
            kwargs["logger"] = loggers
        kwargs["callbacks"] = with_progress(trainer["callbacks"], wanted=trainer["enable_progress_bar"] is not False)
        self._get(self.config_init, "last_checkpoint").settings = dict(self.settings)
        plugins = trainer["plugins"] or []
        kwargs["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), AtomicCheckpointIO()]
        try:
            return super().instantiate_trainer(**kwargs)
        except (TypeError, ValueError) as error:
            raise MisconfigurationException(str(error)) from error

    def after_fit(self) -> None:
        """Print the run's folder and what can be done with it next."""
        folder = self.trainer.default_root_dir
        if is_first_rank():
            print(f"The run's folder is {folder}; to look at it: {shlex.join(['purer', 'report', str(folder)])}")

    def after_validate(self) -> None:
        """Print the result with its interval and its file."""
        if is_first_rank() and isinstance(self.model, IcfilEvaluation):
            file = Path(self.trainer.default_root_dir) / RESULTS
            print(f"{in_words(self.model.results['results'][-1])}; kept in {file}")

    after_test = after_validate

    def wandb_run(self) -> list[WandbRun]:
        """Return the run of W&B that this command adds to, or nothing where none is asked for."""
        config = self.config[self.subcommand]
        settings: WandbSettings = self._get(self.config_init, "wandb")
        mode = settled_mode(settings.mode) if settings.enabled else None
        if mode is None:
            return []
        folder = Path(config.trainer.default_root_dir)
        folder = folder if self.subcommand == "fit" else folder.parent
        pool = read_manifest(config.data.pool) if self.subcommand == "fit" else None
        return [WandbRun(folder, settings, mode, str(self.subcommand), self.config_dump, pool)]


def _settle_epochs(config: Any) -> None:
    """Let each run have a validation, so that there is a best checkpoint, and a progress bar that knows its end."""
    trainer, data = config.trainer, config.data
    if trainer.max_steps <= 0 or data.updates_per_epoch <= 0:
        return
    data.updates_per_epoch = min(data.updates_per_epoch, trainer.max_steps)
    if trainer.max_epochs is None:
        trainer.max_epochs = math.ceil(trainer.max_steps / data.updates_per_epoch)
    elif 0 <= (updates := trainer.max_epochs * data.updates_per_epoch) < trainer.max_steps:
        say(
            f"trainer.max_epochs {trainer.max_epochs} ends the run after {updates} updates, before trainer.max_steps "
            f"{trainer.max_steps}; set it to null to make them all."
        )


def run(args: list[str]) -> None:
    """Parse ``args`` (subcommand first) and run it."""
    if args[0] == "fit":
        # Not for testing: there each episode's small result stays, and splits what was freed, so that memory grows.
        keep_freed_memory()
    quieten(args[0])
    try:
        with handlers_kept():
            PurerCLI(
                PurerModule,
                PseudoEpisodeDataModule,
                args=args,
                seed_everything_default=0,
                trainer_defaults=TRAINER_DEFAULTS,
                save_config_callback=ConfigFile,
                parser_kwargs={"exit_on_error": False},
            )
    except Interrupted as stop:
        end_interrupted(stop, args)
    except SIGTERMException:
        raise PurerError("Stopped by SIGTERM before the first update; nothing is lost.") from None
    except MisconfigurationException as error:
        raise PurerError(
            f"These settings of trainer are incompatible with each other or with this machine: {error}"
        ) from error
