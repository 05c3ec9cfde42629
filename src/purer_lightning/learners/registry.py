"""Learners by name. A file names a learner; it never names code to import."""

import importlib
from collections.abc import Mapping
from typing import Any

from purer_lightning.errors import PurerError, nearest
from purer_lightning.learners.base import Learner
from purer_lightning.learners.features import FeatureClassifier
from purer_lightning.learners.learn2learn_maml import Learn2LearnMaml
from purer_lightning.learners.maml import Maml
from purer_lightning.learners.protonet import ProtoNet
from purer_lightning.learners.r2d2 import R2D2
from purer_lightning.normalisation import Normalisation

LEARNERS: dict[str, type[Learner]] = {
    learner.__name__: learner for learner in (Maml, FeatureClassifier, ProtoNet, R2D2, Learn2LearnMaml)
}


def describe_for_loading(learner: Learner, normalisation: Normalisation) -> dict[str, Any]:
    """Return what a checkpoint says beside ``learner.describe()``, so that ``make_learner`` can make it without a YAML.

    Args:
        learner: of this package or the user's own.
        normalisation: of its input.
    """
    return {
        "class_path": f"{type(learner).__module__}.{type(learner).__qualname__}",
        "settings": learner.settings(),
        "normalisation": normalisation.plain(),
    }


def make_learner(name: str, settings: Mapping[str, Any], own: type[Learner] | None = None) -> Learner:
    """Make a learner that a file describes.

    Args:
        name: of its class, without the module.
        settings: its constructor's arguments.
        own: the caller's class, taken instead of the registry's. It has to be of the name that the file gives.

    Raises:
        PurerError: not a name of the registry nor of ``own``, or settings that the class does not take.
    """
    if own is not None and own.__name__ != name:
        raise PurerError(
            f"The meta-model was trained with the learner '{name}', but '{own.__name__}' was given; give the class it "
            "was trained with."
        )
    learner = own or LEARNERS.get(name)
    if learner is None:
        raise PurerError(
            f"The meta-model's learner '{name}' is none of this package ({', '.join(LEARNERS)}), and a file cannot say "
            f"what to import; name your class by --learner package.module.{name} (in Python: learner={name}) if you "
            f"trust it.{nearest(name, LEARNERS)}"
        )
    try:
        return learner(**settings)
    except TypeError as error:
        raise PurerError(f"The settings {dict(settings)} do not fit the learner {name}: {error}.") from error


def import_learner(path: str) -> type[Learner]:
    """Import a learner of the user's own: only ever with what the user has typed.

    Args:
        path: such as ``package.module.MyLearner``.

    Raises:
        PurerError: there is no such module or class, or it is no learner.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise PurerError(
            f"Expected --learner to be package.module.ClassName, but '{path}' cannot be imported ({error}); give its "
            "whole path, and start where Python finds the package."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Learner)):
        raise PurerError(
            f"Expected --learner to name a subclass of purer_lightning.learners.Learner, but '{path}' is none."
        )
    return found
