"""Learners: how a meta-model adapts to a support set. None knows whether an episode is real or pseudo."""

from purer_lightning.learners.base import BatchNormMode, Learner
from purer_lightning.learners.features import FeatureClassifier, FeatureLearner
from purer_lightning.learners.maml import Maml
from purer_lightning.learners.protonet import ProtoNet
from purer_lightning.learners.r2d2 import R2D2

__all__ = ["R2D2", "BatchNormMode", "FeatureClassifier", "FeatureLearner", "Learner", "Maml", "ProtoNet"]
