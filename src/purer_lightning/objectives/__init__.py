"""What the theta step minimises: few-shot episodes (PURER), the pool's judgement, or one large classification."""

from purer_lightning.objectives.base import Objective, Outcome
from purer_lightning.objectives.distillation import Distillation
from purer_lightning.objectives.episodic import Episodic
from purer_lightning.objectives.image_source import ImageSource
from purer_lightning.objectives.joint import Joint

__all__ = ["Distillation", "Episodic", "ImageSource", "Joint", "Objective", "Outcome"]
