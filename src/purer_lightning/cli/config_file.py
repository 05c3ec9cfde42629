"""config.yaml of a run folder."""

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

from purer_lightning.files import replacing
from purer_lightning.running.names import CONFIG


class ConfigFile(SaveConfigCallback):
    """Writes the settings that were asked for, not those that follow from them.

    So a run that is resumed from its own config.yaml with another ``max_steps``, or in another folder, gets all that
    follows from these anew.

    Args:
        parser: of the command.
        config: resolved; what follows from other settings is filled in.
        asked: the same without that.
    """

    def __init__(self, parser: LightningArgumentParser, config: Any, asked: Any) -> None:
        del config
        super().__init__(parser, asked, save_to_log_dir=False)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the file, whole or not at all."""
        del pl_module, stage
        with replacing(Path(trainer.default_root_dir) / CONFIG) as temporary:
            temporary.write_text(self.parser.dump(self.config, skip_none=False), encoding="utf-8")
