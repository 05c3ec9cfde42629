"""Where a meta-model comes from: what its run's configuration and test say, without this machine's paths."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def provenance_of(run: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a card says of a run, in plain types and without this machine's paths.

    Args:
        run: its folder; ``test/results.json`` in it is read where it is there.
        config: its resolved configuration, or an empty dictionary.
    """
    data, model = config.get("data") or {}, config.get("model") or {}
    trainer = config.get("trainer") or {}
    said = {
        "dataset": data.get("dataset"),
        "pool": Path(data["pool"]).name if data.get("pool") else None,
        "way": data.get("way"),
        "shot": data.get("shot"),
        "images": (config.get("synthesis") or {}).get("source"),
        "updates": trainer.get("max_steps"),
        "objective": ((model.get("objective") or {}).get("class_path") or "Episodic").rpartition(".")[2],
        "curriculum": (model.get("curriculum") or {}).get("enabled"),
        "seed": config.get("seed_everything"),
        "tests": _tests(run / "test" / "results.json"),
    }
    return {name: value for name, value in said.items() if value is not None} if config else {}


def _tests(file: Path) -> dict[str, Any] | None:
    """Return what ``purer test`` found on its whole list of episodes; None where there is no such file."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        kept = {name: found[name] for name in ("dataset", "split", "way", "shot", "query", "transductive")}
        return kept | {"batchnorm": found["meta_model"]["batchnorm"], "result": found["results"][-1]}
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None
