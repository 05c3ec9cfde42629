"""Callbacks. None but SynthesisCallback may change a result."""

from purer_lightning.callbacks.checkpoint import LastCheckpoint
from purer_lightning.callbacks.drift import DriftCallback
from purer_lightning.callbacks.gallery import GalleryCallback
from purer_lightning.callbacks.progress import ProgressCallback
from purer_lightning.callbacks.summary import SummaryCallback
from purer_lightning.callbacks.synthesis import SynthesisCallback

__all__ = [
    "DriftCallback",
    "GalleryCallback",
    "LastCheckpoint",
    "ProgressCallback",
    "SummaryCallback",
    "SynthesisCallback",
]
