"""Learners by name. A file names a learner; it never names code to import."""

from collections.abc import Mapping
from typing import Any, get_type_hints

from purer_lightning.errors import PurerError, nearest
from purer_lightning.files.records import checked
from purer_lightning.learners.base import Learner
from purer_lightning.learners.features import FeatureClassifier
from purer_lightning.learners.learn2learn_maml import Learn2LearnMaml
from purer_lightning.learners.maml import Maml
from purer_lightning.learners.protonet import ProtoNet
from purer_lightning.learners.r2d2 import R2D2
from purer_lightning.nets.normalisation import Normalisation
from purer_lightning.plugs import by_path, subclass_of

LEARNERS: dict[str, type[Learner]] = {
    learner.__name__: learner for learner in (Maml, FeatureClassifier, ProtoNet, R2D2, Learn2LearnMaml)
}

# What has to agree, and what to change where it does not.
REMEDIES = {
    "architecture": "set model.learner.init_args.architecture to the checkpoint's",
    "arguments": "set model.learner.init_args.arguments to the checkpoint's",
    "outputs": "set model.learner.init_args.outputs to the checkpoint's, or data.way where outputs is null",
    "channels": "choose the data.pool it was trained on",
    "image_size": "choose the data.pool it was trained on",
}
ALWAYS_SAID = ("architecture", "arguments")  # the rest was added later, and older checkpoints lack it


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
    hints = get_type_hints(learner.__init__)
    for key, value in settings.items():
        if key in hints:
            checked(value, hints[key], f"The setting '{key}' of the learner {name}", "give another meta-model")
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
    return by_path(path, "--learner", subclass_of(Learner))  # type: ignore[type-abstract]  # the user's own is not


def check_meta_model(checkpoint: Mapping[str, Any], learner: Learner) -> None:
    """Compare a checkpoint's meta-model with a learner that is built.

    Args:
        checkpoint: as torch has loaded it.
        learner: what is to take the weights.

    Raises:
        PurerError: the learner takes none, the file is no checkpoint of ours, or its network is another.
    """
    if not learner.takes_checkpoint:
        raise PurerError(
            f"{type(learner).__name__} takes its weights from the pool and has no use for a checkpoint; leave "
            "--ckpt_path out."
        )
    said = checkpoint.get("meta_model")
    if not isinstance(said, Mapping) or not said.keys() >= set(ALWAYS_SAID) or "state_dict" not in checkpoint:
        raise PurerError(
            "The file given by --ckpt_path is no checkpoint of purer fit: it does not describe a meta-model; "
            "give one from a run's folder 'checkpoints'."
        )
    # Older checkpoints speak of the tasks' way alone, which was then the number of outputs.
    said = {"outputs": said["way"], **said} if "way" in said else said
    wanted = learner.describe()
    for name, remedy in REMEDIES.items():
        if name in said and said[name] != wanted[name]:
            raise PurerError(
                f"The checkpoint's meta-model has {name} {said[name]!r}, but the settings say {wanted[name]!r}; "
                f"{remedy}."
            )
    if remembers(said) != remembers(wanted):
        raise PurerError(
            f"The checkpoint's meta-model was trained with batchnorm '{said['batchnorm']}', but the settings say "
            f"'{wanted['batchnorm']}': only a network trained with 'running' has running statistics; change "
            "model.learner.init_args.batchnorm."
        )
    own = {f"learner.{name}" for name in learner.state_dict()}
    other = own.symmetric_difference(checkpoint["state_dict"])
    if other:
        raise PurerError(
            f"The checkpoint was trained with the learner {said.get('learner', 'of another class')}, whose weights are "
            f"not those of {wanted['learner']}: '{min(other)}' is in one alone; set model.learner.class_path to the "
            "checkpoint's."
        )


def remembers(described: Mapping[str, Any]) -> bool:
    """Whether a meta-model so described keeps BatchNorm's running statistics."""
    return described.get("batchnorm") == "running"
