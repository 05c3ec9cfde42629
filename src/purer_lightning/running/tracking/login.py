"""Whether W&B is used, online or offline, and as which run: decided before anything starts, without a server."""

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from purer_lightning.errors import PurerError

IDENTITY = "wandb.json"  # in the run folder
PROJECT = "purer"
Mode = Literal["online", "offline"]


@dataclass
class WandbSettings:
    """Whether and where a run is shown in Weights & Biases, beside metrics.csv, which is always written.

    Attributes:
        enabled: nothing is written for it and no network is used unless this is true.
        project: of W&B; null is the one that this run folder's run is in already, or "purer".
        entity: user or team of W&B; null is that of this run folder's run, or the login's own.
        name: of the run; null is the run folder's name.
        tags: of the run.
        pictures: show the pseudo images, too; they can reveal something of what the teachers were trained on.
        mode: "auto" is online where there is a login and offline where there is none or WANDB_MODE says so.
    """

    enabled: bool = False
    project: str | None = None
    entity: str | None = None
    name: str | None = None
    tags: list[str] | None = None
    pictures: bool = True
    mode: Literal["auto", "online", "offline"] = "auto"


class Identity(NamedTuple):
    """Which run of W&B a run folder is; all its starts are that one run."""

    id: str
    project: str
    entity: str | None


def settled_mode(wanted: Literal["auto", "online", "offline"]) -> Mode | None:
    """Decide between online and offline before anything starts, without asking a server.

    Returns:
        None where WANDB_MODE (or ``wandb disabled``) switches W&B off.

    Raises:
        PurerError: a login that cannot be one, or "online" without a login.
    """
    import wandb

    said = wandb.setup(settings=wandb.Settings(silent=True)).settings.mode
    if wanted == "auto" and said == "disabled":
        return None
    if wanted == "offline" or (wanted == "auto" and said in ("offline", "dryrun")):
        return "offline"
    try:
        logged_in = wandb.login(prompt=False, verify=False)
    except wandb.errors.AuthenticationError as error:
        raise PurerError(f"The login for Weights & Biases is damaged ({error}); run `wandb login` again.") from error
    if wanted == "online" and not logged_in:
        raise PurerError(
            f"Expected a login for wandb.mode online, but found none (W&B's own mode is {said}); run `wandb login`, or "
            "set wandb.mode to offline."
        )
    return "online" if logged_in else "offline"


def settled_identity(folder: Path, settings: WandbSettings) -> Identity:
    """Return the run of W&B that a run folder is, or a new one.

    Raises:
        PurerError: the settings name another project or entity than that of the folder's run.
    """
    path = folder / IDENTITY
    if not path.is_file():
        return Identity(uuid.uuid4().hex[:8], settings.project or PROJECT, settings.entity)
    try:
        kept = Identity(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise PurerError(f"'{path}' is damaged ({error}); remove it, and a new run of W&B is begun.") from error
    for name in ("project", "entity"):
        wanted, found = getattr(settings, name), getattr(kept, name)
        if wanted not in (None, found):
            raise PurerError(
                f"The run in '{folder}' is in the W&B {name} '{found}', but wandb.{name} is '{wanted}'; leave it out, "
                "or name another folder with --run."
            )
    return kept
