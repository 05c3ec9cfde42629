"""Silences remarks of Lightning's that do not help here."""

import logging
import warnings

# Warnings of Lightning's against what this package does on purpose.
UNHELPFUL = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 with torch 2.13
    "It is recommended to use `self.log",  # what is logged has been gathered over ranks before
    ".*does not have many workers",  # episodes are drawn from memory-mapped files in a millisecond
    "You're resuming from a checkpoint that ended before the epoch ended",  # the plans follow from the update's number
    "Checkpoint directory .* exists and is not empty",  # a resumed run's
    "The `srun` command is available",  # slurm.py says what is amiss
)


def quieten(command: str) -> None:
    """Leave out warnings against what this package does on purpose, and advertisements, from now on."""
    for message in UNHELPFUL:
        warnings.filterwarnings("ignore", message=message)
    if command != "fit":
        warnings.filterwarnings("ignore", message="The dirpath has changed")  # they save no checkpoints
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(_is_no_advertisement)


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    """Lightning 2.6 recommends its own cloud services at every start."""
    return "Tip:" not in record.getMessage()
