"""fit, validate and test by LightningCLI: one YAML describes training and evaluation of one row of a results table."""

import logging
import math
import os
import warnings
from collections.abc import Mapping, Sequence
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
from purer_lightning.compute.memory import keep_freed_memory
from purer_lightning.engine.choice import EngineChoice
from purer_lightning.errors import PurerError
from purer_lightning.evaluation import IcfilEvaluation
from purer_lightning.evaluation.icfil import CalibrationSettings
from purer_lightning.evaluation.metrics import in_words
from purer_lightning.pool.manifest import read_manifest
from purer_lightning.running.checkpoints import BEST, FOLDER
from purer_lightning.running.csv_log import CsvLog
from purer_lightning.running.names import CONFIG, RESULTS
from purer_lightning.running.resuming import end_interrupted, find_checkpoint, say_differences, settings_of
from purer_lightning.running.run_folder import (
    is_first_rank,
    is_own,
    make_writable,
    output_folder,
    remove_unbegun,
    run_folder,
    still_to_make,
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
}
# Warnings of Lightning's against what this package does on purpose.
UNHELPFUL = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 with torch 2.13
    "It is recommended to use `self.log",  # what is logged has been gathered over ranks before
    ".*does not have many workers",  # episodes are drawn from memory-mapped files in a millisecond
    "You're resuming from a checkpoint that ended before the epoch ended",  # the plans follow from the update's number
    "Checkpoint directory .* exists and is not empty",  # a resumed run's
    "The `srun` command is available",  # slurm.py says what is amiss
)

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
        try:
            super().__init__(*arguments, **settings)
        except PurerError:
            if is_first_rank():
                remove_unbegun(self.made)
            raise

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what is ours beside model, data and trainer."""
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

    def before_instantiate_classes(self) -> None:
        """Settle the run folder before anything is made that writes into it."""
        config = self.config[self.subcommand]
        devices = device_count(config.trainer.devices, config.trainer.accelerator)
        check_tasks(os.environ, devices, config.trainer.num_nodes)
        run, subcommand = run_folder(config), str(self.subcommand)
        folder = output_folder(run, subcommand, goes_on=is_own(config.get("ckpt_path"), run))
        checkpoint = find_checkpoint(config.get("ckpt_path"), run, subcommand)
        config.ckpt_path = str(checkpoint.path) if checkpoint else None
        self.made = still_to_make(folder)
        make_writable(folder)
        config.trainer.default_root_dir = str(folder)
        config.checkpoint.dirpath = str(folder / FOLDER)
        config.evaluation.run = str(folder)
        config.trainer.use_distributed_sampler = False  # the data module strides over ids; two strides would lose some
        config.weights_only = True  # Lightning's own default depends on where the file lies
        if (
            config.trainer.max_steps > 0 and config.data.updates_per_epoch > 0
        ):  # at least one validation, so that there is a best checkpoint
            config.data.updates_per_epoch = min(config.data.updates_per_epoch, config.trainer.max_steps)
            if config.trainer.max_epochs is None:  # for the progress bar alone
                config.trainer.max_epochs = math.ceil(config.trainer.max_steps / config.data.updates_per_epoch)
        if subcommand == "fit":
            self._dump_config()
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
        """Say where the run lies, and what to do next with it."""
        folder = self.trainer.default_root_dir
        if is_first_rank():
            print(f"The run's folder is {folder}; to look at it: purer report {folder}")

    def after_validate(self) -> None:
        """Say what was found, with its interval, and where it lies."""
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
        self._dump_config()
        pool = read_manifest(config.data.pool) if self.subcommand == "fit" else None
        return [WandbRun(folder, settings, mode, str(self.subcommand), self.config_dump, pool)]


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    """Lightning 2.6 recommends its own cloud services at every start."""
    return "Tip:" not in record.getMessage()


def run(args: list[str]) -> None:
    """Parse ``args`` (subcommand first) and run it."""
    if args[0] == "fit":
        # Not for testing: there each episode's small result stays, and splits what was freed, so that memory grows.
        keep_freed_memory()
    for message in UNHELPFUL:
        warnings.filterwarnings("ignore", message=message)
    if args[0] != "fit":
        warnings.filterwarnings("ignore", message="The dirpath has changed")  # they save no checkpoints
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(_is_no_advertisement)
    try:
        with handlers_kept():
            PurerCLI(
                PurerModule,
                PseudoEpisodeDataModule,
                args=args,
                seed_everything_default=0,
                trainer_defaults=TRAINER_DEFAULTS,
                save_config_kwargs={"overwrite": True, "config_filename": CONFIG},
                parser_kwargs={"exit_on_error": False},
            )
    except Interrupted as stop:
        end_interrupted(stop, args)
    except SIGTERMException:
        raise PurerError("Stopped by SIGTERM before the first update; nothing is lost.") from None
    except MisconfigurationException as error:
        raise PurerError(f"These settings of trainer do not go together or not with this machine: {error}") from error
