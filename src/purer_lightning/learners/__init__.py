"""Learners: how a meta-model adapts to a support set. None knows whether an episode is real or pseudo."""

from purer_lightning.learners.base import BatchNormMode, Learner
from purer_lightning.learners.centroid import NearestCentroid
from purer_lightning.learners.maml import Maml

__all__ = ["BatchNormMode", "Learner", "Maml", "NearestCentroid"]
