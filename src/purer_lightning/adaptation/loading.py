"""Meta-models on disk: the description from which one can be made again, and reading it from a run.

Nothing that is read runs code: weights are tensors, a description is plain types, and a learner is a name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import yaml
from pydantic import Field
from torch import Tensor

from purer_lightning.errors import PurerError
from purer_lightning.evaluation.icfil import CalibrationSettings
from purer_lightning.files.records import STRICT, checked
from purer_lightning.learners.base import Learner
from purer_lightning.learners.loading import make_learner
from purer_lightning.nets import LARGEST
from purer_lightning.nets.normalisation import Normalisation
from purer_lightning.pool.manifest import check_normalisation, read_manifest
from purer_lightning.running.checkpoints import BEST, FOLDER, LAST, read_checkpoint
from purer_lightning.running.names import CONFIG
from purer_lightning.running.provenance import provenance_of

PREFIX = "learner."
"""Begins the names of the meta-model's weights in a checkpoint."""


@dataclass
class MetaModelRecord:
    """What it takes to make a meta-model again, its weights apart.

    Attributes:
        learner: name of its class.
        settings: the class's arguments, plain types.
        way: classes of the tasks that it was trained for.
        channels: of the images.
        image_size: height and width in pixels.
        normalisation: of its input, that of the pool it was made from.
    """

    __pydantic_config__ = STRICT

    learner: Annotated[str, Field(min_length=1)]
    settings: dict[str, Any]
    way: Annotated[int, Field(ge=1, le=LARGEST)]
    channels: Annotated[int, Field(ge=1, le=LARGEST)]
    image_size: Annotated[int, Field(ge=1, le=LARGEST)]
    normalisation: Normalisation

    def build(self, own: type[Learner] | None = None, batchnorm: str | None = None) -> Learner:
        """Make the learner, in eval mode, with fresh weights.

        Args:
            own: see ``make_learner``.
            batchnorm: instead of the mode in the settings.

        Raises:
            PurerError: something in this record is not what a learner of this package can have.
        """
        changed = {} if batchnorm is None else {"batchnorm": batchnorm}
        learner = make_learner(self.learner, self.settings | changed, own)
        try:
            learner.build(self.way, self.channels, self.image_size, seed=0)
        except PurerError:
            raise
        except Exception as error:  # whatever a network's constructor makes of a file's numbers
            raise PurerError(
                f"No network can be made as the meta-model's description says ({type(error).__name__}: {error}); "
                "give another."
            ) from error
        return learner.eval()

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain types."""
        return vars(self) | {"normalisation": self.normalisation.plain()}


class Stored(NamedTuple):
    """A meta-model as it was read.

    Attributes:
        record: what makes it again.
        weights: the learner's state_dict.
        calibration: ICFIL's settings in the run.
        provenance: what a model card says of where it comes from, plain types; empty where nothing is known.
    """

    record: MetaModelRecord
    weights: dict[str, Tensor]
    calibration: CalibrationSettings
    provenance: dict[str, Any]


def record_from_plain(said: Mapping[str, Any], where: str) -> MetaModelRecord:
    """Return the record that plain types stand for.

    Raises:
        PurerError: something is missing, of a wrong type, or contradictory; ``where`` names the file.
    """
    own = [field.name for field in fields(MetaModelRecord)]  # a checkpoint says more, which a result shows
    record = checked(
        {name: said[name] for name in own if name in said},
        MetaModelRecord,
        f"The description of a meta-model in {where}",
        "give a run folder, a checkpoint of purer fit or a folder written by save_pretrained",
    )
    check_normalisation(record.normalisation, record.channels, where)
    return record


def calibration_from_plain(said: Mapping[str, Any] | None, where: str) -> CalibrationSettings:
    """Return ICFIL's settings that plain types stand for; None stands for the defaults.

    Raises:
        PurerError: they are no such settings; ``where`` names the file.
    """
    if said is None:
        return CalibrationSettings()
    remedy = "restore it, or leave the section out for the defaults"
    settings = checked(said, CalibrationSettings, f"The calibration in {where}", remedy)
    settings.check()
    return settings


def checkpoint_in(path: Path) -> Path:
    """Return the checkpoint that a run folder, its folder ``checkpoints`` or a file's own path stands for.

    Raises:
        PurerError: there is none.
    """
    if not path.is_dir():
        return path
    candidates = [folder / name for folder in (path / FOLDER, path) for name in (BEST, LAST)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise PurerError(
        f"Expected a run folder with checkpoints/best.ckpt or last.ckpt in it, but '{path}' has neither; let purer fit "
        "finish its first epoch there, or give another folder."
    )


def read_stored(path: Path, pool: str | None = None) -> Stored:
    """Read a meta-model from a run folder or a checkpoint.

    Args:
        path: of either.
        pool: folder of the pool, for checkpoints that were written before they said their normalisation.

    Raises:
        PurerError: no such file, no checkpoint of ``purer fit``, or one that cannot be understood.
    """
    file = checkpoint_in(path)
    checkpoint = read_checkpoint(file)
    config = read_config(file.parent.parent / CONFIG) if file.parent.name == FOLDER else {}
    said, state = checkpoint.get("meta_model"), checkpoint.get("state_dict")
    if not isinstance(said, Mapping) or not isinstance(state, Mapping):
        raise PurerError(
            f"'{file}' is no checkpoint of purer fit: it does not describe a meta-model; give one from a run's folder "
            "'checkpoints'."
        )
    if "settings" not in said:
        said = older_description(said, config, pool, file)
    weights = {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}
    calibration = calibration_from_plain((config.get("evaluation") or {}).get("calibration"), f"the run of '{file}'")
    provenance = provenance_of(file, config, checkpoint.get("global_step"))
    return Stored(record_from_plain(said, f"'{file}'"), weights, calibration, provenance)


def older_description(
    said: Mapping[str, Any], config: Mapping[str, Any], pool: str | None, file: Path
) -> dict[str, Any]:
    """Complete the description in a checkpoint of version 0.1's first days from its run's config and its pool.

    Raises:
        PurerError: the run's config.yaml is not there.
    """
    try:
        learner, way, own_pool = config["model"]["learner"], config["data"]["way"], config["data"]["pool"]
    except (KeyError, TypeError) as error:
        raise PurerError(
            f"'{file}' does not say its learner's settings and normalisation, as older checkpoints do not; leave it in "
            "its run's folder 'checkpoints', beside which config.yaml says them, or train anew."
        ) from error
    manifest = read_manifest(pool or own_pool)
    return {
        "learner": said.get("learner", ""),
        "settings": learner.get("init_args", {}),
        "way": way,
        "channels": manifest.channels,
        "image_size": manifest.image_size,
        "normalisation": manifest.normalisation.plain(),
    }


def read_config(file: Path) -> dict[str, Any]:
    """Return a run's resolved configuration as plain types, or an empty dictionary where there is none.

    Raises:
        PurerError: it is no YAML.
    """
    if not file.is_file():
        return {}
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PurerError(f"'{file}' cannot be read as YAML ({error}); restore it, or remove it.") from error
    return content if isinstance(content, dict) else {}


def give_weights(learner: Learner, weights: Mapping[str, Tensor], where: str) -> None:
    """Load weights into a learner that was built for them.

    Raises:
        PurerError: names or shapes are others, or a value is not finite.
    """
    wrong = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if wrong:
        raise PurerError(f"Expected finite weights in {where}, but '{wrong[0]}' has others; give another checkpoint.")
    try:
        learner.load_state_dict(dict(weights))
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise PurerError(
            f"The weights in {where} are not those of its learner '{type(learner).__name__}': {first}"
        ) from error
