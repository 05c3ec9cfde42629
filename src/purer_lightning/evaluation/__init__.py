"""How a number comes about: adapt, calibrate by ICFIL, score, average. Knows no bank, no curriculum, no training."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from purer_lightning.evaluation.module import IcfilEvaluation

__all__ = ["IcfilEvaluation"]


def __getattr__(name: str) -> Any:
    """Import Lightning only for the module that needs it: ``purer adapt`` calibrates without it."""
    if name != "IcfilEvaluation":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from purer_lightning.evaluation.module import IcfilEvaluation

    return IcfilEvaluation
