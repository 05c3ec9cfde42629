"""Adapted classifiers as files: ONNX says the same as torch, safetensors is the same classifier again."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from purer_lightning.adaptation.classifier import AdaptedClassifier, load_adapted
from purer_lightning.adaptation.export import METADATA, TOLERANCE, check_agreement, check_exports
from purer_lightning.adaptation.meta_model import load
from purer_lightning.errors import PurerError
from purer_lightning.learners import FeatureClassifier, Maml
from runs import GREY, WIDTH, built, pictures, write_run

LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 3])
NAMES = ["newt", "newt", "auk", "auk", "emu", "emu", "bee, wasp"]
QUERY = torch.tensor([2, 0, 1, 1, 3, 3])


def adapted(folder: Path, learner: str = "maml", **changed: Any) -> AdaptedClassifier:
    """Return a classifier of four classes, one more than its meta-model was made for."""
    made = {
        "maml": Maml("conv4", WIDTH, inner_lr=0.1),
        "centroid": FeatureClassifier("conv4", WIDTH, batchnorm="running", representation="logits", outputs=9),
    }[learner]
    model = load(write_run(folder / learner, built(made, channels=1), GREY), **changed)
    return model.adapt(pictures(LABELS, channels=1), NAMES)


@pytest.fixture
def classifier(tmp_path: Path) -> AdaptedClassifier:
    return adapted(tmp_path)


@pytest.mark.parametrize("learner", ["maml", "centroid"])
def test_onnxruntime_says_the_same_of_any_number_of_pictures(learner: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    classifier = adapted(tmp_path, learner)
    file = tmp_path / "new" / "model.onnx"
    classifier.save(file)
    assert [path.name for path in file.parent.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(str(file))
    for query in (QUERY, QUERY[:1], QUERY.repeat(50)):
        images = pictures(query, channels=1, seed=1)
        (found,) = session.run(["probabilities"], {"images": (images.float() / 255).numpy()})
        assert torch.allclose(torch.from_numpy(found), classifier.predict(images), atol=TOLERANCE)
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["class_names"]) == ["auk", "bee, wasp", "emu", "newt"]
    assert said["input"] == "float32 (batch, 1, 16, 16), grey, from 0 to 1"


def test_a_file_that_says_something_else_is_not_exported(classifier: AdaptedClassifier, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    classifier.save(tmp_path / "model.onnx")
    other = AdaptedClassifier(
        classifier.learner, classifier.fast, classifier.record, classifier.class_names, classifier.temperature / 2
    )
    with pytest.raises(PurerError, match="nothing was exported"):
        check_agreement(other, tmp_path / "model.onnx")


def test_a_transductive_classifier_is_no_function_of_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(PurerError, match="transductive"):
        adapted(tmp_path, batchnorm="transductive").save(tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_a_missing_extra_is_named_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(PurerError, match=r"needs onnxscript, .*pip install 'purer-lightning\[export\]'"):
        check_exports([Path("model.onnx")])
    check_exports([Path("model.safetensors")])


def test_another_suffix_is_refused() -> None:
    with pytest.raises(PurerError, match=r"end in \.onnx or \.safetensors, but got 'model\.pt'"):
        check_exports([Path("model.pt")])


@pytest.mark.parametrize("learner", ["maml", "centroid"])
def test_the_classifier_that_is_loaded_again_is_the_one_that_was_saved(learner: str, tmp_path: Path) -> None:
    classifier = adapted(tmp_path, learner)
    classifier.save(tmp_path / "model.safetensors")
    again = load_adapted(tmp_path / "model.safetensors")
    query = pictures(QUERY, channels=1, seed=1)
    assert torch.allclose(again.predict(query), classifier.predict(query), atol=1e-6)
    assert again.class_names == ("auk", "bee, wasp", "emu", "newt")
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def rewritten(file: Path, **changed: Any) -> Path:
    """Change what the file says of its weights."""
    with safe_open(str(file), "pt") as opened:
        said = json.loads(opened.metadata()[METADATA])
    save_file(load_file(file), file, metadata={METADATA: json.dumps(said | changed)})
    return file


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"format": 99}, "Expected format 1 in .*, but found 99"),
        ({"class_names": ["auk", "emu"]}, "names 2 classes, but tells 4 apart"),
        ({"class_names": None}, "expected 'class_names' to be a list, but found null"),
        ({"meta_model": {}}, "description of a meta-model in .* is damaged: 'learner' is missing"),
        ({"meta_model": "maml"}, "expected 'meta_model' to be an object, but found \"maml\""),
        ({"temperature": "warm"}, "expected 'temperature' to be a number, but found \"warm\""),
        ({"temperature": 0.0}, "expected 'temperature' to be above 0.0, but found 0.0"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    changed: dict[str, Any], expected: str, classifier: AdaptedClassifier, tmp_path: Path
) -> None:
    classifier.save(tmp_path / "model.safetensors")
    with pytest.raises(PurerError, match=expected):
        load_adapted(rewritten(tmp_path / "model.safetensors", **changed))


def test_weights_of_another_shape_or_missing_are_refused(classifier: AdaptedClassifier, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    for name, value in (("blocks.0.0.weight", torch.zeros(4, 3, 3, 3)), ("head.weight", torch.zeros(4, 5))):
        classifier.save(file)
        tensors = load_file(file) | {name: value}
        with safe_open(str(file), "pt") as opened:
            metadata = opened.metadata()
        save_file(tensors, file, metadata=metadata)
        with pytest.raises(PurerError, match="do not fit"):
            load_adapted(file)


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"damaged")
    for name in ("other", "damaged", "gone"):
        with pytest.raises(PurerError, match="is no adapted classifier"):
            load_adapted(tmp_path / f"{name}.safetensors")
    with pytest.raises(PurerError, match="load_adapted"):
        load(tmp_path / "other.safetensors")


def test_what_cannot_be_written_leaves_nothing_behind(classifier: AdaptedClassifier, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(PurerError, match="Cannot write"):
        classifier.save(tmp_path / "model.safetensors")
    assert sorted(tmp_path.rglob("*")) == before
