"""What is refused as a checkpoint, and in which words."""

from pathlib import Path
from typing import Any

import pytest
import torch

from purer_lightning.errors import PurerError
from purer_lightning.learners import FeatureClassifier, Learner, Maml, ProtoNet
from purer_lightning.learners.loading import check_meta_model
from purer_lightning.learners.pool_baselines import PoolClassifier, TeacherAverage
from purer_lightning.running.checkpoints import read_checkpoint


def built(learner: Learner, way: int = 3, channels: int = 3, image_size: int = 16) -> Learner:
    learner.build(way, channels, image_size, seed=0)
    return learner


def small(**changed: int) -> Learner:
    return built(Maml("conv4", {"width": 4}), **changed)


def checkpoint(learner: Learner | None = None) -> dict[str, Any]:
    learner = learner or small()
    return {
        "meta_model": learner.describe(),
        "state_dict": {f"learner.{n}": v for n, v in learner.state_dict().items()},
    }


def saved(tmp_path: Path, content: object, name: str = "best.ckpt") -> str:
    torch.save(content, tmp_path / name)
    return str(tmp_path / name)


class Foreign:
    """A class that a pickle would have to import."""


@pytest.mark.parametrize("learner", [small(), built(FeatureClassifier("conv4", {"width": 4}))])
def test_a_checkpoint_of_the_same_network_is_accepted_whatever_the_learner(learner: Learner) -> None:
    check_meta_model(checkpoint(), learner)


def test_an_older_checkpoint_that_does_not_say_the_tasks_shape_is_accepted() -> None:
    older = checkpoint()
    for name in ("way", "outputs", "channels", "image_size"):
        del older["meta_model"][name]
    check_meta_model(older, small())


@pytest.mark.parametrize(
    ("learner", "expected"),
    [
        (built(Maml("resnet10")), "architecture 'conv4', but the settings say 'resnet10'; set model.learner.init_args"),
        (built(Maml("conv4", {"width": 8})), r"arguments {'width': 4}, but the settings say {'width': 8}"),
        (small(way=5), "outputs 3, but the settings say 5; set .*or data.way"),
        (small(channels=1), "channels 3, but the settings say 1; choose the data.pool"),
        (small(image_size=32), "image_size 16, but the settings say 32; choose the data.pool"),
    ],
)
def test_another_network_is_refused_by_the_first_thing_that_differs(learner: Learner, expected: str) -> None:
    with pytest.raises(PurerError, match=expected):
        check_meta_model(checkpoint(), learner)


@pytest.mark.parametrize(
    "content",
    [{}, {"state_dict": {}}, {"meta_model": small().describe()}, {"meta_model": "conv4", "state_dict": {}}],
)
def test_a_file_that_describes_no_meta_model_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(PurerError, match="is no checkpoint of purer fit"):
        check_meta_model(content, small())


@pytest.mark.parametrize("learner", [PoolClassifier("nowhere"), TeacherAverage("nowhere")])
def test_a_learner_whose_weights_are_the_pools_takes_no_checkpoint(learner: Learner) -> None:
    with pytest.raises(PurerError, match=f"{type(learner).__name__} takes .*leave --ckpt_path out"):
        check_meta_model(checkpoint(), learner)


@pytest.mark.parametrize("trained, asked", [("running", "transductive"), ("support", "running")])
def test_running_statistics_are_not_asked_of_a_network_without_them_nor_left_unused(trained: str, asked: str) -> None:
    there, wanted = (built(FeatureClassifier("conv4", {"width": 4}, batchnorm=mode)) for mode in (trained, asked))  # type: ignore[arg-type]
    with pytest.raises(PurerError, match=f"trained with batchnorm '{trained}', but the settings say '{asked}'"):
        check_meta_model(checkpoint(there), wanted)


def test_a_student_may_be_tested_on_tasks_of_any_way() -> None:
    student = built(FeatureClassifier("conv4", {"width": 4}, outputs=12))
    check_meta_model(checkpoint(student), built(FeatureClassifier("conv4", {"width": 4}, outputs=12), way=7))


def test_a_checkpoint_from_before_outputs_were_said_is_held_to_its_way() -> None:
    older = checkpoint()
    del older["meta_model"]["outputs"]
    check_meta_model(older, small())
    with pytest.raises(PurerError, match="outputs 3, but the settings say 5"):
        check_meta_model(older, small(way=5))


def test_learnt_settings_of_a_head_that_the_learner_has_not_are_named() -> None:
    learnt = checkpoint(built(ProtoNet("conv4", {"width": 4}, distance="cosine")))
    with pytest.raises(PurerError, match=r"'learner.learnt.log_scale' is in one alone; set model.learner.class_path"):
        check_meta_model(learnt, small())


def test_a_file_of_tensors_and_plain_values_passes(tmp_path: Path) -> None:
    read_checkpoint(saved(tmp_path, checkpoint()))


@pytest.mark.parametrize("address", ["https://example.org/best.ckpt", "s3://bucket/best.ckpt"])
def test_an_address_is_refused(address: str) -> None:
    with pytest.raises(PurerError, match="copy it here first"):
        read_checkpoint(address)


def test_a_missing_file_names_the_nearest_and_all_that_are_there(tmp_path: Path) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        saved(tmp_path, {}, name)
    with pytest.raises(PurerError, match=r"no such file.*Did you mean 'best.ckpt'\?.* has: best.ckpt, last.ckpt\."):
        read_checkpoint(str(tmp_path / "bst.ckpt"))
    with pytest.raises(PurerError, match=r"found a folder at.* has: best.ckpt, last.ckpt\."):
        read_checkpoint(str(tmp_path))
    with pytest.raises(PurerError, match="found no folder"):
        read_checkpoint(str(tmp_path / "gone" / "best.ckpt"))


@pytest.mark.parametrize("kept", [0, 10, 3000])
def test_a_file_cut_short_is_called_damaged(kept: int, tmp_path: Path) -> None:
    path = Path(saved(tmp_path, checkpoint()))
    whole = path.read_bytes()
    assert len(whole) > 3000
    path.write_bytes(whole[:kept])
    with pytest.raises(PurerError, match=r"best.ckpt' cannot be read as a checkpoint: it is damaged"):
        read_checkpoint(str(path))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PurerError, match="could run code when loaded"):
        read_checkpoint(saved(tmp_path, {"state_dict": Foreign()}))


def test_a_file_of_something_else_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(PurerError, match="it holds a list"):
        read_checkpoint(saved(tmp_path, [1, 2]))
