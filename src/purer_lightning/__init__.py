"""Data-free meta-learning: a pool of trained classifiers in, a few-shot learner out (PURER, CVPR 2023)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from purer_lightning.meta_model import MetaModel, load

__version__ = "0.1.0"

__all__ = ["MetaModel", "load"]


def __getattr__(name: str) -> Any:
    """Import torch when it is first needed, and not with the package."""
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from purer_lightning import meta_model

    return getattr(meta_model, name)
