"""WandbRun: a Lightning logger that makes one run of W&B out of a run folder."""

import json
import shlex
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from torch import Tensor

from purer_lightning.errors import PurerError
from purer_lightning.files import replacing
from purer_lightning.pool.manifest import PoolManifest
from purer_lightning.running.tracking.login import IDENTITY, Identity, Mode, WandbSettings, settled_identity

STEP = "curriculum/step"  # the meta-update: the horizontal axis of every curve
CURVES = ("curriculum/*", "train/*", "inversion/*", "val/*")
GALLERY, POOL = "pseudo_images", "pool"
ENLARGED = 4  # a pseudo image has 28 to 84 pixels, too few for a browser


class WandbRun(Logger):
    """Logs one run: curves over the meta-update, pictures, the pool, the resolved settings, results in the summary.

    Args:
        folder: the run folder; ``wandb.json`` in it keeps the run's identity, ``wandb/`` what is to be sent.
        settings: of W&B.
        mode: as ``settled_mode`` has decided.
        job: "fit" draws curves; "validate" and "test" add their results to the summary of the same run.
        config: the resolved settings, plain types.
        pool: shown as a table.
    """

    def __init__(
        self,
        folder: Path,
        settings: WandbSettings,
        mode: Mode,
        job: str,
        config: dict[str, Any],
        pool: PoolManifest | None = None,
    ) -> None:
        super().__init__()
        self.folder, self.settings, self.mode, self.job = folder, settings, mode, job
        self.config, self.pool = config, pool
        self.identity = settled_identity(folder, settings)
        self._run: Any = None
        self._update = 0

    @property
    def name(self) -> str:
        """The project."""
        return self.identity.project

    @property
    def version(self) -> str:
        """The run's id, which stays the same from start to start."""
        return self.identity.id

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The ``wandb.Run``; begun, or gone on with, when it is first asked for. A dummy on all ranks but the first."""
        if self._run is None:
            self._begin()
        return self._run

    def _begin(self) -> None:
        import wandb

        known = (self.folder / IDENTITY).is_file()
        # W&B names a start's folder by the second and would write over an earlier start of the same second.
        while any(self.folder.glob(f"wandb/*{time.strftime('%Y%m%d_%H%M%S')}-{self.identity.id}")):
            time.sleep(0.1)
        try:
            self._run = wandb.init(
                **self.identity._asdict(),
                dir=str(self.folder),
                name=self.settings.name or self.folder.name,
                tags=self.settings.tags,
                mode=self.mode,
                resume="allow",
                # Silent, since the lines below and in ``finalize`` say what matters. No copy of the console: a progress
                # bar fills it.
                settings=wandb.Settings(silent=True, console="off"),
            )
        except wandb.errors.Error as error:
            reason = " ".join(str(error).split())
            raise PurerError(f"Weights & Biases cannot be reached ({reason}); set wandb.mode to offline.") from error
        with replacing(self.folder / IDENTITY) as file:
            file.write_text(json.dumps(self.identity._asdict()) + "\n", encoding="utf-8")
        for curves in CURVES:
            self._run.define_metric(curves, step_metric=STEP)
        self._run.define_metric("val/accuracy", step_metric=STEP, summary="last,max")
        if self.job == "fit" or not known:
            self._run.config.update(self.config, allow_val_change=True)
        if self.pool and not known:
            columns, rows = pool_table(self.pool)
            self._run.log({POOL: wandb.Table(columns=columns, data=rows)}, step=0)
        where = self._run.url if self.mode == "online" else f"offline, in {self.folder / 'wandb'}"
        rank_zero_info(f"W&B run {self.identity.id}: {where}")

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Add settings to the run's."""
        del args, kwargs
        self.experiment.config.update(params, allow_val_change=True)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log a point of each curve at its meta-update, or results into the summary.

        W&B's own step is the meta-update, too: what a resumed run does again is then not drawn twice. ``step``,
        Lightning's clock, is one behind: it counts from 0.
        """
        if self.job != "fit":
            results = {f"{self.job}/{key.rpartition('/')[2]}": value for key, value in metrics.items() if "/" in key}
            self.experiment.summary.update(results)
            return
        before = self._update if step is None else max(self._update, step + 1)  # of a validation that comes first
        self._update = int(metrics.get(STEP, before))
        self.experiment.log(dict(metrics) | {STEP: self._update}, step=self._update)

    @rank_zero_only
    def log_gallery(self, pictures: Tensor, captions: Sequence[str]) -> None:
        """Log a row of pictures for each class.

        Args:
            pictures: uint8, (classes, images, C, H, W), C = 1 or 3.
            captions: one a class. Pictures have no axis in W&B, so a caption says the meta-update.
        """
        if not self.settings.pictures:
            return
        import wandb

        rows = pictures.permute(0, 3, 1, 4, 2).flatten(2, 3)  # (classes, H, images x W, C)
        rows = rows.repeat_interleave(ENLARGED, dim=1).repeat_interleave(ENLARGED, dim=2)
        shown = [wandb.Image(row.numpy(), caption=text) for row, text in zip(rows, captions, strict=True)]
        self.experiment.log({GALLERY: shown, STEP: self._update}, step=self._update)

    @rank_zero_only
    def mark_preempted(self) -> None:
        """Say that the run's end, when it comes with a failure, is no failure: another start goes on with it."""
        if self._run is not None:
            self._run.mark_preempting()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run, and say how to send it where it is offline."""
        if self._run is None:
            return
        self._run.finish(exit_code=int(status == "failed"))
        self._run = None
        if self.mode == "offline":
            rank_zero_info(
                f"W&B has not been sent anything. With a login, do: {sync_command(self.folder, self.identity)}"
            )


def sync_command(folder: Path, identity: Identity) -> str:
    """Return the one line that sends all starts of an offline run, in their order."""
    return f"wandb sync --yes {shlex.quote(str(folder))}/wandb/offline-run-*-{identity.id}"


def pool_table(pool: PoolManifest) -> tuple[list[str | int], list[list[Any]]]:
    """Return the pool as columns and rows, a row a teacher; accuracies in 0 to 1, None where nobody measured one."""
    columns: list[str | int] = ["teacher", "architecture", "data set", "classes", "held-out accuracy", "sha256"]
    rows = [
        [t.name, t.network.architecture, t.dataset, ", ".join(t.class_names), t.held_out_accuracy, t.sha256]
        for t in pool.teachers
    ]
    return columns, rows
