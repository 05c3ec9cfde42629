"""Where a meta-model comes from: what its run's configuration and test say, without this machine's paths."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from purer_lightning.running.names import RESULTS


def provenance_of(checkpoint: Path, config: Mapping[str, Any], updates: int | None) -> dict[str, Any]:
    """Return what a card says of a checkpoint, in plain types and without this machine's paths.

    Args:
        checkpoint: in the folder ``checkpoints`` of its run, whose ``test/results.json`` is read where it is there.
        config: the run's resolved configuration, or an empty dictionary.
        updates: that had been made when the checkpoint was written; None where it does not say so.
    """
    data, model = config.get("data") or {}, config.get("model") or {}
    synthesis = config.get("synthesis") or {}
    own = (synthesis.get("method") or {}).get("class_path")
    said = {
        "dataset": data.get("dataset"),
        "pool": Path(data["pool"]).name if data.get("pool") else None,
        "way": data.get("way"),
        "shot": data.get("shot"),
        "images": own or synthesis.get("source", "pool"),  # older runs knew nothing else
        "updates": updates,
        "planned updates": (config.get("trainer") or {}).get("max_steps"),
        "objective": ((model.get("objective") or {}).get("class_path") or "Episodic").rpartition(".")[2],
        "curriculum": (model.get("curriculum") or {}).get("enabled"),
        "seed": config.get("seed_everything"),
        "tests": _tests(checkpoint.parent.parent / "test" / RESULTS, checkpoint.name),
    }
    return {name: value for name, value in said.items() if value is not None} if config else {}


def _tests(file: Path, checkpoint: str) -> dict[str, Any] | None:
    """Return what ``purer test`` found of a checkpoint on its whole list of episodes; None where it tested another."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if Path(found["checkpoint"]).name != checkpoint:
            return None
        kept = {name: found[name] for name in ("dataset", "split", "way", "shot", "query", "transductive")}
        return kept | {"batchnorm": found["meta_model"]["batchnorm"], "result": found["results"][-1]}
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None
