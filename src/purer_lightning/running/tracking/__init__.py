"""Weights & Biases: one run a training, online where there is a login and offline where there is none.

Nothing here is reached unless a user asks for it (``wandb.enabled``, ``purer dashboard``), so that no run calls a
server unasked.
"""

from purer_lightning.running.tracking.login import WandbSettings, settled_mode
from purer_lightning.running.tracking.run import WandbRun

__all__ = ["WandbRun", "WandbSettings", "settled_mode"]
