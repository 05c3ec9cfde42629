"""Data-free meta-learning: a pool of trained classifiers in, a few-shot learner out (PURER, CVPR 2023)."""

__version__ = "0.1.0"
