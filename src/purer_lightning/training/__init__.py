"""Meta-training: ``module.py`` is the paper's Algorithm 1, ``data_module.py`` what its episodes are drawn from."""

from purer_lightning.training.module import PurerModule

__all__ = ["PurerModule"]
