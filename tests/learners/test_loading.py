"""Learners made from names and plain settings, and from nothing else that a file could say."""

import json
import sys
from pathlib import Path

import pytest
import torch

from purer_lightning.errors import PurerError
from purer_lightning.learners import R2D2, FeatureClassifier, Learner, Maml, ProtoNet
from purer_lightning.learners.loading import LEARNERS, import_learner, make_learner

# Every argument of every learner away from its default.
UNUSUAL = [
    Maml("resnet10", {"width": 8}, 3, 7, 0.2, True, "support", 11, "head"),
    FeatureClassifier("resnet10", {"width": 8}, "ridge", "logits", 2.0, "running", 11),
    ProtoNet("resnet10", {"width": 8}, "cosine", 5.0, "support", 11),
    R2D2("resnet10", {"width": 8}, 20.0, 3.0, "support", 11),
]


class Mine(Maml):
    """A learner of the user's own."""

    def __init__(self, sharpness: float = 1.0, helper: object = None) -> None:
        super().__init__()
        self.sharpness, self.helper = sharpness, helper


@pytest.mark.parametrize("learner", UNUSUAL, ids=lambda learner: type(learner).__name__)
def test_name_and_settings_make_the_same_learner_again(learner: Learner) -> None:
    settings = json.loads(json.dumps(learner.settings()))
    again = make_learner(type(learner).__name__, settings)
    assert type(again) is type(learner)
    assert again.settings() == learner.settings()
    assert again.describe() == learner.describe()
    for name, value in learner.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


@pytest.mark.parametrize("learner", UNUSUAL, ids=lambda learner: type(learner).__name__)
def test_no_setting_is_forgotten(learner: Learner) -> None:
    default = type(learner)().settings()
    assert {name for name, value in learner.settings().items() if value == default[name]} == set()


def test_what_is_not_plain_is_left_out_of_the_settings() -> None:
    assert Mine(2.0, helper=object()).settings() == {"sharpness": 2.0}


def test_a_name_outside_the_registry_is_refused_and_nothing_is_imported() -> None:
    sys.modules.pop("this", None)
    with pytest.raises(PurerError, match=r"'this\.s' is none of this package .*--learner"):
        make_learner("this.s", {})
    assert "this" not in sys.modules
    with pytest.raises(PurerError, match=r"Did you mean 'ProtoNet'\?"):
        make_learner("Protonet", {})


def test_ones_own_class_is_taken_when_it_is_given_and_has_the_files_name() -> None:
    assert isinstance(make_learner("Mine", {"sharpness": 3.0}, Mine), Mine)
    with pytest.raises(PurerError, match="trained with the learner 'Maml', but 'Mine' was given"):
        make_learner("Maml", {}, Mine)


def test_settings_that_a_learner_does_not_take_are_named() -> None:
    with pytest.raises(PurerError, match=r"do not fit the learner Maml: .*'sharpness'"):
        make_learner("Maml", {"sharpness": 1.0})


def test_a_learner_is_imported_by_what_the_user_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_learners.py").write_text(
        "from purer_lightning.learners import Maml\nclass Own(Maml): pass\nx = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert import_learner("my_learners.Own").__name__ == "Own"
    for path in ("my_learners.Gone", "no_such_module.Own", "Own"):
        with pytest.raises(PurerError, match="cannot be imported"):
            import_learner(path)
    with pytest.raises(PurerError, match="is none"):
        import_learner("my_learners.x")


def test_every_learner_of_the_registry_is_tested_here() -> None:
    assert {type(learner).__name__ for learner in UNUSUAL} | {"Learn2LearnMaml"} == set(LEARNERS)
