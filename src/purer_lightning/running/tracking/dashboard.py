"""``purer dashboard``: a workspace of W&B with the curriculum's panels, difficulty against firings first."""

import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from purer_lightning.errors import PurerError
from purer_lightning.files import replacing
from purer_lightning.inversion.priors import InversionWeights
from purer_lightning.running.tracking.login import PROJECT, settled_mode
from purer_lightning.running.tracking.run import GALLERY, POOL, STEP

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

NAME = "PURER: the curriculum"
UPDATE = "meta-update"
# title, horizontal axis, its label, curves
Plot = tuple[str, str, str, list[str]]
CURRICULUM: list[Plot] = [
    (
        "difficulty against firings of the gradient switch",
        "curriculum/firings",
        "firings so far",
        ["curriculum/difficulty"],
    ),
    ("difficulty: the expected outer loss", STEP, UPDATE, ["curriculum/difficulty"]),
    ("gradient switch: 1 where it has fired", STEP, UPDATE, ["curriculum/switch"]),
    ("firings so far", STEP, UPDATE, ["curriculum/firings"]),
    ("updates without a new best accuracy", STEP, UPDATE, ["curriculum/patience"]),
]
LEARNING: list[Plot] = [
    ("accuracy on unseen real classes (meta-val)", STEP, UPDATE, ["val/accuracy"]),
    ("accuracy on pseudo queries: the feedback", STEP, UPDATE, ["train/accuracy"]),
    ("outer loss", STEP, UPDATE, ["train/outer_loss"]),
]
TERMS = ["total", "class", *(prior.name for prior in InversionWeights().priors())]
INVERSION: list[Plot] = [
    (f"inversion: {term.replace('_', ' ')}", STEP, UPDATE, [f"inversion/{term}"]) for term in TERMS
]
RESULTS = ["test/accuracy", "test/icfil_accuracy"]


def dashboard(project: str = PROJECT, entity: str | None = None, output: str = "dashboard.json") -> None:
    """Save a workspace with the curriculum's panels to W&B where there is a login, else describe it in a file.

    Each time a new view of the project is made; earlier ones stay as they are.

    Args:
        project: whose runs it shows.
        entity: user or team that the project belongs to; null is the login's own.
        output: file for the description where there is no login.
    """
    if settled_mode("auto") == "online":
        _save(workspace(entity or _own_entity(), project))
        return
    described = description(workspace(entity or "", project))
    path = Path(output)
    with replacing(path, parents=True) as file:
        file.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    print(
        f"W&B is offline (no login, or its mode says so): nothing was saved there, and the workspace is described in "
        f"'{path}'. Online, after `wandb login`, the same command saves it."
    )


def workspace(entity: str, project: str) -> "Workspace":
    """Return the workspace; nothing is saved.

    Raises:
        PurerError: wandb-workspaces is not installed.
    """
    try:
        panels: Any = import_module("wandb_workspaces.reports.v2")  # its names are not declared to type checkers
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise PurerError(
            "purer dashboard needs the package wandb-workspaces; pip install 'purer-lightning[dashboard]'."
        ) from error

    def plots(wanted: list[Plot]) -> list[Any]:
        return [panels.LinePlot(title=title, x=x, title_x=label, y=list(y)) for title, x, label, y in wanted]

    gallery = panels.MediaBrowser(title="pseudo images as they sharpen", media_keys=[GALLERY], gallery_axis="step")
    # Priors of the user's own, whose names nobody knows here, are in this one with the others.
    every_term = panels.LinePlot(
        title="inversion: every term", x=STEP, title_x=UPDATE, metric_regex="^inversion/", log_y=True
    )
    results = panels.BarPlot(title="accuracy on meta-test", metrics=list(RESULTS))
    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            ws.Section(name="Curriculum", panels=plots(CURRICULUM), is_open=True),
            ws.Section(name="Learning", panels=[*plots(LEARNING), results], is_open=True),
            ws.Section(name="Pseudo images", panels=[gallery], is_open=True),
            ws.Section(name="Inversion", panels=[*plots(INVERSION), every_term]),
            ws.Section(name="Pool", panels=[panels.WeavePanelSummaryTable(table_name=POOL)]),
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP),
        runset_settings=ws.RunsetSettings(pinned_columns=[f"summary:{name}" for name in ("val/accuracy", *RESULTS)]),
    )


def description(described: "Workspace") -> dict[str, Any]:
    """Return the workspace as W&B itself keeps it, in plain types."""
    # Not public in wandb-workspaces 0.4, which has no other way to look at what `save` would send.
    spec: dict[str, Any] = json.loads(described._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))
    return {"entity": described.entity, "project": described.project, "name": described.name, "spec": spec}


def _own_entity() -> str:
    import wandb

    found = wandb.Api().default_entity
    if not found:
        raise PurerError("The login to W&B has no entity of its own; name yours with --entity.")
    return str(found)


def _save(wanted: "Workspace") -> None:
    """Send it.

    Raises:
        PurerError: the server cannot be reached or refuses.
    """
    try:
        wanted.save()  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever its HTTP library raises
        raise PurerError(
            f"W&B did not take the workspace for '{wanted.entity}/{wanted.project}' ({error}); look at the login, the "
            "entity and the network, or set WANDB_MODE=offline to have it described in a file."
        ) from error
    print(f"The workspace '{NAME}' is at {wanted.url}")
