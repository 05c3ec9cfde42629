"""Where a command of the trainer writes: found, checked and made before anything else is."""

import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from purer_lightning.errors import PurerError
from purer_lightning.files import LOCK, locked
from purer_lightning.running.checkpoints import FOLDER, WORDS
from purer_lightning.running.names import CONFIG, METRICS, RESULTS


def run_folder(config: Any) -> Path:
    """Return the run folder: --run, or that of the checkpoint's run, or runs/<name of the last configuration file>."""
    checkpoint = config.get("ckpt_path")
    of_checkpoint = Path(checkpoint).parent.parent if checkpoint and Path(checkpoint).parent.name == FOLDER else None
    # A machine's configuration says where a run is made and not what it is.
    configs = [path for path in map(Path, map(str, config.get("config") or [])) if path.parent.name != "machine"]
    by_name = Path("runs") / (configs[-1].stem if configs else "default")
    if checkpoint in WORDS and configs and configs[-1].name == CONFIG and (configs[-1].parent / FOLDER).is_dir():
        by_name = configs[-1].parent  # a run that goes on from its own settings
    return Path(config.run) if config.run else of_checkpoint or by_name


def is_own(checkpoint: str | None, run: Path) -> bool:
    """Whether --ckpt_path means one of the run folder's own checkpoints: a fit from another's would be another run."""
    if checkpoint is None or checkpoint in WORDS:
        return checkpoint is not None
    return Path(checkpoint).resolve().parent == (run / FOLDER).resolve()


def written_folder(run: Path, subcommand: str) -> Path:
    """Return where a command writes: the run folder for fit, a folder of its name in it for validate and test."""
    return run if subcommand == "fit" else run / subcommand


def output_folder(run: Path, subcommand: str, *, goes_on: bool) -> Path:
    """Return where a command writes, once it is sure that it spoils nothing there.

    Raises:
        PurerError: a fit into a folder that already holds a run which it does not continue, or a validation or test
            into one that holds results.
    """
    folder = written_folder(run, subcommand)
    stale = sorted(folder.glob("hpc_ckpt_*.ckpt"))
    if stale:
        raise PurerError(
            f"'{stale[-1]}' is no checkpoint of purer fit, but under Slurm Lightning would go on from it unasked; "
            f"remove it, or name another folder with --run."
        )
    if subcommand != "fit":
        if (folder / RESULTS).exists():
            raise PurerError(f"The folder '{folder}' already holds results; name another with --run, or remove them.")
        return folder
    # Asked by the first rank alone: when the others start, it may have begun to write.
    if is_first_rank() and not goes_on and any((run / made).exists() for made in (METRICS, FOLDER)):
        raise PurerError(
            f"The folder '{run}' already holds a run; name another with --run, or continue that one with "
            f"{shlex.join(['--run', str(run), '--ckpt_path', 'last'])}."
        )
    return folder


@contextmanager
def run_lock(run: Path, subcommand: str) -> Iterator[None]:
    """Hold the folder that a command writes, so that no other process writes it at the same time.

    A validation or a test also waits for no fit: what it finds of a checkpoint that is replaced soon after would stand
    in the run's folder as the final one's.

    Raises:
        PurerError: another process writes there, or meta-trains in the run folder.
    """
    with ExitStack() as locks:
        folder, remedy = written_folder(run, subcommand), "name another folder with --run"
        locks.enter_context(locked(folder, f"purer {subcommand}", remedy))
        if folder != run and (run / LOCK).exists():
            with locked(run, f"purer {subcommand}", remedy):
                pass
        yield


def is_first_rank() -> bool:
    """Whether this process is the first of its run, also before the ranks have been connected."""
    return getattr(rank_zero_only, "rank", 0) in (0, None)


def make_writable(folder: Path) -> None:
    """Make a folder and prove that files can be written there.

    Raises:
        PurerError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # a name of its own for each rank
            pass
    except OSError as error:
        raise PurerError(
            f"Cannot write into the run folder '{folder}' ({error.strerror}); name another with --run."
        ) from error


def still_to_make(folder: Path) -> list[Path]:
    """Return ``folder`` and its missing parents, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def remove_unbegun(made: Sequence[Path]) -> None:
    """Remove the folders that were made for a command that could not begin, and has left its settings there at most.

    Args:
        made: of ``still_to_make``, before the command.
    """
    there = [folder for folder in made if folder.is_dir()]
    if there and all(left == made[0] / CONFIG for left in there[0].iterdir()):
        (there[0] / CONFIG).unlink(missing_ok=True)
        for folder in there:
            if not any(folder.iterdir()):
                folder.rmdir()
