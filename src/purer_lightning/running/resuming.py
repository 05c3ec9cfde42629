"""How ``purer fit`` resumes: which checkpoint, which settings have changed, how a stopped run ends."""

import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch.utilities import rank_zero_only

from purer_lightning.errors import PurerError
from purer_lightning.pool.manifest import read_manifest
from purer_lightning.running.checkpoints import FOLDER, LAST, SETTINGS, WORDS, Found, last_checkpoint, read_checkpoint
from purer_lightning.running.run_folder import is_first_rank
from purer_lightning.running.signals import Interrupted
from purer_lightning.running.slurm import is_job, is_preempted, requeue

# What says where a run is and how it is begun or watched, or follows from other settings.
NOT_COMPARED = (
    *("run", "config", "ckpt_path", "weights_only", "data.seed", "model.seed", "evaluation", "wandb", "gallery"),
    *("trainer.default_root_dir", "trainer.max_epochs", "trainer.logger", "trainer.enable_progress_bar"),
    *("checkpoint.dirpath", "last_checkpoint"),
)
# What is done before the first update; the initial steps one by one, so that more or fewer may be left.
AT_THE_START, INITIAL_STEPS = "model.start_from_average", "synthesis.initial_steps"


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
    """Print which settings of a resumed run differ from the checkpoint's (they win), or that the run is complete.

    Args:
        checkpoint: its content; older ones say no settings.
        settings: of the run that goes on.
    """
    done, wanted = checkpoint.get("global_step", 0), settings["trainer.max_steps"]
    too_late = (AT_THE_START, INITIAL_STEPS) if done else (AT_THE_START,)
    lines = [
        f"  {key}: {now}, was {before}" + (" (comes too late)" if key in too_late else "")
        for key, now, before in differences(settings, checkpoint.get(SETTINGS, {}))
    ]
    if lines:
        said = "1 setting is not" if len(lines) == 1 else f"{len(lines)} settings are not"
        say("\n".join([f"{said} as in the checkpoint's run; the command line wins:", *lines]))
    if done >= wanted > 0:
        say(
            f"The run has made {done} updates of {wanted}, so none is left; raise trainer.max_steps to train on, or "
            "name another folder with --run for a new run."
        )


def differences(settings: Mapping[str, Any], saved: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the settings that differ: dotted key, value and what a checkpoint says, as text, in the keys' order.

    What only one side knows came or went with another version, or with a class that is a difference itself. But where
    one side has nothing (null) under the key of a whole group, the group counts as the other's value.
    """
    found = []
    for key in sorted(saved.keys() | settings.keys()):
        now, before = (values[key] if key in values else _group(values, key) for values in (settings, saved))
        if now != before and {} not in (now, before):
            found.append((key, _said(now), _said(before)))
    return found


def _group(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key.removeprefix(f"{name}."): value for key, value in settings.items() if key.startswith(f"{name}.")}


def _said(value: Any) -> str:
    if not isinstance(value, dict):
        return repr(value)
    return str(value.get("class_path") or ", ".join(f"{name} {each!r}" for name, each in value.items()))


def end_interrupted(stop: Interrupted, words: Sequence[str]) -> NoReturn:
    """Explain how to resume a stopped command, requeue its Slurm job, and end this process.

    SIGUSR1 is what a job is sent before its time is over, SIGTERM when it is preempted, but also when it is cancelled,
    and then it is not to come back.

    Args:
        stop: what has ended the run.
        words: of the command line; a job comes back only if they let it go on.
    """
    if not is_first_rank():
        sys.exit(0)  # a failure would let srun or Lightning end the first rank, too, which has more to do
    name = signal.Signals(stop.number).name
    if words[0] != "fit":
        say(f"Stopped by {name}; nothing is kept of a part of {words[0]}, so the same command begins it anew.")
        sys.exit(128 + stop.number)
    how = f"Go on with the same command and: {shlex.join(['--run', stop.run, '--ckpt_path', 'last'])}"
    if is_job(os.environ) and (
        stop.number == signal.SIGUSR1 or (stop.number == signal.SIGTERM and is_preempted(os.environ))
    ):
        goes_on = "--ckpt_path last" in " ".join(words).replace("=", " ")
        how = requeue(os.environ) if goes_on else f"Its command lacks --ckpt_path last, so the job ends. {how}"
    say(f"Stopped by {name} after {stop.done}, which is saved. {how}")
    sys.exit(128 + stop.number)  # the shell's convention for a process that a signal has ended
