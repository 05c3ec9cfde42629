"""How the images of a run come about: the base of every way, and ours by their names in the configuration."""

from purer_lightning.inversion.synthesis.base import Judge, Synthesis, SynthesisTask, check_bank
from purer_lightning.inversion.synthesis.pixels import PixelSynthesis
from purer_lightning.inversion.synthesis.real import RealImages

SYNTHESES = {"pool": PixelSynthesis, "real": RealImages}
"""Name under ``synthesis.source`` -> class."""

__all__ = ["SYNTHESES", "Judge", "PixelSynthesis", "RealImages", "Synthesis", "SynthesisTask", "check_bank"]
