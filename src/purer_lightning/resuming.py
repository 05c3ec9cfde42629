"""What ``purer fit`` goes on from, and what it says about that."""

import sys
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from purer_lightning.checkpoints import FOLDER, LAST, WORDS, Found, last_checkpoint, read_checkpoint
from purer_lightning.errors import PurerError
from purer_lightning.pool.manifest import read_manifest

SETTINGS = "settings"  # under which a checkpoint holds those of its run
ABSENT = object()
# What says where a run is and how it is begun or watched, or follows from other settings.
NOT_COMPARED = (
    *("run", "config", "ckpt_path", "weights_only", "data.seed", "model.seed", "evaluation", "wandb", "gallery"),
    *("trainer.default_root_dir", "trainer.max_epochs", "trainer.logger", "trainer.enable_progress_bar"),
    *("checkpoint.dirpath", "last_checkpoint"),
)
WITHOUT_EFFECT = ("model.start_from_average", "synthesis.initial_steps")  # done before the first update


@rank_zero_only
def say(sentence: str) -> None:
    """Print one line on standard error, once for all ranks."""
    print(f"purer: {sentence}", file=sys.stderr)


def find_checkpoint(wanted: str | None, run: Path, subcommand: str) -> Found | None:
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
        return Found(path, read_checkpoint(path))
    last = last_checkpoint(run, say)
    if last is None and subcommand != "fit":
        raise PurerError(
            f"Expected a checkpoint of purer fit in '{run}', but there is no '{run / FOLDER / LAST}'; name the run "
            f"folder with --run or the file with --ckpt_path."
        )
    if last is None:
        say(f"There is no checkpoint in '{run}' yet: the run begins at the beginning.")
    return last


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's settings by dotted key, in plain types, as its checkpoints hold them.

    Args:
        config: resolved, nested; those parts are left out that have no say in what is computed.
    """
    flat = {
        key: value
        for key, value in _flattened(config).items()
        if not any(key == left_out or key.startswith(f"{left_out}.") for left_out in NOT_COMPARED)
    }
    weights = "".join(sorted(teacher.sha256 for teacher in read_manifest(config["data"]["pool"]).teachers))
    return flat | {"teachers in data.pool": blake2b(weights.encode(), digest_size=4).hexdigest()}


def _flattened(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        flat |= _flattened(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def say_differences(checkpoint: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Say which settings of a run that goes on are not those of the checkpoint's, and that they win.

    Args:
        checkpoint: its content; older ones say no settings.
        settings: of the run that goes on.
    """
    saved = checkpoint.get(SETTINGS, {})
    lines = [
        f"  {key}: {settings[key]!r}, was {saved[key]!r}" + (" (comes too late)" if key in WITHOUT_EFFECT else "")
        for key in sorted(saved.keys() & settings.keys())
        if saved[key] != settings[key]
    ]
    if lines:
        said = "1 setting is not" if len(lines) == 1 else f"{len(lines)} settings are not"
        say("\n".join([f"{said} as in the checkpoint's run; the command line wins:", *lines]))
