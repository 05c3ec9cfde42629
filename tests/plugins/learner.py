"""BOIL (Oh et al., ICLR 2021): MAML whose inner loop leaves the linear head as it is and moves the body alone."""

from torch import Tensor

from purer_lightning.learners import Maml


class Boil(Maml):
    """Takes MAML's arguments; ``learner.class_path: plugins.learner.Boil``."""

    def adapts(self, name: str, value: Tensor) -> bool:
        """Return whether the inner loop moves this weight: any that MAML moves, but not the head's."""
        return super().adapts(name, value) and not name.startswith("head.")
