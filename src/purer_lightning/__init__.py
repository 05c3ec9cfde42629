"""Data-free meta-learning: a pool of trained classifiers in, a few-shot learner out (PURER, CVPR 2023)."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from purer_lightning.adaptation.classifier import AdaptedClassifier, load_adapted
    from purer_lightning.adaptation.meta_model import MetaModel, load

__version__ = "0.1.0"

__all__ = ["AdaptedClassifier", "MetaModel", "load", "load_adapted"]
_WHERE = {
    "AdaptedClassifier": "adaptation.classifier",
    "MetaModel": "adaptation.meta_model",
    "load": "adaptation.meta_model",
    "load_adapted": "adaptation.classifier",
}
# Modules of version 0.1.0 that stand elsewhere now; their old names can still be imported.
_MOVED = {
    "calibration": "evaluation.icfil",
    "callbacks.last_checkpoint": "callbacks.checkpoint",
    "callbacks.preemption": "running.signals",
    "data.datasets": "data.splits",
    "data.examples": "cli.examples",
    "data.own_pictures": "adaptation.pictures",
    "data.pseudo_episodes": "training.data_module",
    "data.record": "data.metadata",
    "learners.registry": "learners.loading",
    "metrics": "evaluation.metrics",
    "normalisation": "nets.normalisation",
    "objectives.comparison": "objectives.distillation_losses",
    "objectives.gradient": "training.gradient",
    "parallel": "compute.ranks",
    "pool.judgement": "pool.ensemble",
    "pool.records": "pool.writing",
    "pool.resident": "pool.lazy",
    "precision": "compute.precision",
    "report.gallery": "running.sheets",
    "schedule": "training.schedule",
    "tracking": "running.tracking",
}


def __getattr__(name: str) -> Any:
    """Import torch when it is first needed, and not with the package."""
    if name not in _WHERE:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


class _Moved(MetaPathFinder, Loader):
    """Imports a module of ``_MOVED`` under its old name: the very module, not a copy."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        package, _, old = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == __name__ and old in _MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__.removeprefix(f"{__name__}.")
        sys.modules[module.__name__] = import_module(f"{__name__}.{_MOVED[old]}")


sys.meta_path.append(_Moved())
