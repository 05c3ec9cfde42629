"""Data-free meta-learning: a pool of trained classifiers in, a few-shot learner out (PURER, CVPR 2023)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from purer_lightning.adaptation.classifier import AdaptedClassifier
    from purer_lightning.adaptation.export import load_adapted
    from purer_lightning.adaptation.meta_model import MetaModel, load

__version__ = "0.1.0"

__all__ = ["AdaptedClassifier", "MetaModel", "load", "load_adapted"]
_WHERE = {
    "AdaptedClassifier": "adaptation.classifier",
    "MetaModel": "adaptation.meta_model",
    "load": "adaptation.meta_model",
    "load_adapted": "adaptation.export",
}


def __getattr__(name: str) -> Any:
    """Import torch when it is first needed, and not with the package."""
    if name not in _WHERE:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
