"""What ``purer fit`` goes on from, and what it says about that."""

import sys
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from purer_lightning.checkpoints import FOLDER, LAST, WORDS, last_checkpoint, read_checkpoint
from purer_lightning.errors import PurerError


@rank_zero_only
def say(sentence: str) -> None:
    """Print one line on standard error, once for all ranks."""
    print(f"purer: {sentence}", file=sys.stderr)


def find_checkpoint(wanted: str | None, run: Path, subcommand: str) -> Path | None:
    """Return the checkpoint that --ckpt_path means.

    Args:
        wanted: a path, ``last`` for the newest sound checkpoint of the run folder, or ``best`` for its best; None for
            none.
        run: the run folder.
        subcommand: a ``fit`` from ``last`` begins at the beginning where there is no checkpoint yet, so that one
            command line serves both the start and every resumption of a run.

    Raises:
        PurerError: there is none to be found, or it cannot be read.
    """
    if not wanted:
        return None
    if wanted != "last":
        path = run / FOLDER / f"{wanted}.ckpt" if wanted in WORDS else Path(wanted)
        read_checkpoint(path)
        return path
    last = last_checkpoint(run, say)
    if last is None and subcommand != "fit":
        raise PurerError(
            f"Expected a checkpoint of purer fit in '{run}', but there is no '{run / FOLDER / LAST}'; name the run "
            f"folder with --run or the file with --ckpt_path."
        )
    if last is None:
        say(f"There is no checkpoint in '{run}' yet: the run begins at the beginning.")
    return last
