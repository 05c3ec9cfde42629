"""A run as the report sees it: what its folder says, read once."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from purer_lightning.errors import PurerError, nearest
from purer_lightning.pool.manifest import PoolManifest, read_manifest
from purer_lightning.report.curves import Curve, Moment, read_curves, read_times
from purer_lightning.running.names import COMMIT, CONFIG, OF_FIT, SUMMARY

# The second names are those under which results are kept in a repository.
CONFIGS = (CONFIG, OF_FIT + CONFIG)
COMMITS = (COMMIT, OF_FIT + COMMIT)


class Run(NamedTuple):
    """One run.

    Attributes:
        folder: as the user gave it.
        name: of the folder, for people.
        config_text: of its resolved configuration.
        config: the same, parsed; see ``setting``.
        curves: by key.
        times: of its validations; empty where the run did not keep them.
        summary: of summary.json, which is written when training ends; empty before.
        commit: of the code, where somebody wrote it down.
        pool: its description, where the pool is still there.
    """

    folder: Path
    name: str
    config_text: str
    config: Mapping[str, Any]
    curves: Mapping[str, Curve]
    times: list[Moment]
    summary: Mapping[str, Any]
    commit: str | None
    pool: PoolManifest | None

    def setting(self, key: str, default: Any = None) -> Any:
        """Return a dotted key of the configuration, such as ``data.way``; ``default`` where it is absent or null."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return default if value is None else value

    @property
    def updates(self) -> int:
        """How many meta-updates the curves tell of."""
        return max(curve.updates[-1] for curve in self.curves.values())


def read_runs(folders: list[str]) -> list[Run]:
    """Read runs that are to be laid over one another, each once.

    Raises:
        PurerError: none is given, one is no run or has no curves, or their data sets differ.
    """
    runs = [read_run(folder) for folder in dict.fromkeys(map(Path, folders))]
    if not runs:
        raise PurerError("Expected at least one run's folder: purer report RUN [RUN ...].")
    first = runs[0]
    for other in runs[1:]:
        sets = [run.setting("data.dataset") for run in (first, other)]
        if sets[0] != sets[1]:
            raise PurerError(
                f"Runs of different data sets cannot be laid over one another: '{first.folder}' is of '{sets[0]}', but "
                f"'{other.folder}' of '{sets[1]}'; write a report for each."
            )
    names = [run.name for run in runs]
    return [run if names.count(run.name) == 1 else run._replace(name=str(run.folder)) for run in runs]


def read_run(folder: Path) -> Run:
    """Read one run's folder.

    Raises:
        PurerError: it is no run's folder, or one of its files is damaged.
    """
    file = next((folder / name for name in CONFIGS if (folder / name).is_file()), None)
    if file is None:
        raise PurerError(_no_run(folder))
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        config = yaml.safe_load(text)
        is_run = isinstance(config["data"]["dataset"], str)
    except (yaml.YAMLError, KeyError, TypeError):
        is_run = False
    if not is_run:
        raise PurerError(f"'{file}' is not the configuration of a run of purer fit; give a folder that purer fit made.")
    summary = read_json(folder / SUMMARY) if (folder / SUMMARY).is_file() else {}
    commits = [(folder / name).read_text(errors="replace").split() for name in COMMITS if (folder / name).is_file()]
    return Run(
        folder,
        folder.resolve().name,
        text,
        config,
        read_curves(folder),
        read_times(folder),
        summary,
        ", ".join(dict.fromkeys(commits[-1])) if commits else None,
        _pool(config["data"].get("pool"), folder),
    )


def located(path: str, run: Path) -> Path | None:
    """Find what a run's configuration names relative to the folder in which the command was started.

    That folder is not recorded; it is this one, or one of those that the run lies in. None where nothing is found.
    """
    for start in (Path(), *run.resolve().parents):
        if (start / path).exists():
            return (start / path).resolve()
    return None


def spoken(learner: str) -> str:
    """Return a learner's class as people write it."""
    return learner.replace("Maml", "MAML")


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        PurerError: it is none.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PurerError(f"'{file}' cannot be read as JSON ({error}); restore it, or remove it.") from error
    if not isinstance(content, dict):
        raise PurerError(f"Expected a JSON object in '{file}', but found a {type(content).__name__}; restore it.")
    return content


def _no_run(folder: Path) -> str:
    if not folder.is_dir():
        parent = folder.parent
        there = [child.name for child in sorted(parent.iterdir())] if parent.is_dir() else []
        return f"Expected a run's folder, but there is none at '{folder}'.{nearest(folder.name, there)}"
    within = sorted(child.name for child in folder.iterdir() if (child / CONFIGS[0]).is_file())
    hint = f" It has runs in it: {', '.join(within)}." if within else ""
    return f"Expected a run's folder, but '{folder}' has no {CONFIGS[0]}; give a folder that purer fit made.{hint}"


def _pool(path: str | None, folder: Path) -> PoolManifest | None:
    found = located(path, folder) if path else None
    try:
        return read_manifest(found) if found else None
    except PurerError:  # the report is about the run, and says that the pool is not there any more
        return None
