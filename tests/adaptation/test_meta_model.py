"""Loading a meta-model, adapting it to any classes in any numbers, and predicting."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import purer_lightning
from purer_lightning.adaptation.meta_model import MetaModel, load, repeated
from purer_lightning.adaptation.temperature import best_temperature
from purer_lightning.errors import PurerError
from purer_lightning.learners import R2D2, FeatureClassifier, Learner, Maml, ProtoNet
from runs import COLOUR, SIZE, WIDTH, built, checkpoint, pictures, write_glyphs, write_run

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
QUERY = torch.tensor([2, 0, 1, 1])

LEARNERS: dict[str, Callable[[], Learner]] = {
    "maml": lambda: Maml("conv4", WIDTH, inner_steps=10, inner_lr=0.3, batchnorm="support"),
    "maml of other classes": lambda: Maml("conv4", WIDTH, inner_steps=10, inner_lr=0.3, batchnorm="support", outputs=7),
    "anil": lambda: Maml("conv4", WIDTH, inner_steps=10, inner_lr=0.3, batchnorm="support", adapted="head"),
    "cosine": lambda: FeatureClassifier("conv4", WIDTH, batchnorm="running", representation="logits", outputs=9),
    "euclidean": lambda: FeatureClassifier("conv4", WIDTH, "euclidean", batchnorm="support"),
    "ridge": lambda: FeatureClassifier("conv4", WIDTH, "ridge", batchnorm="support"),
    "logistic": lambda: FeatureClassifier("conv4", WIDTH, "logistic", batchnorm="support"),
    "protonet": lambda: ProtoNet("conv4", WIDTH, "cosine", batchnorm="support"),
    "r2d2": lambda: R2D2("conv4", WIDTH, batchnorm="support"),
}


def saved(folder: Path, name: str) -> MetaModel:
    return load(write_run(folder / "run", built(LEARNERS[name]())))


@pytest.fixture
def model(tmp_path: Path) -> MetaModel:
    return saved(tmp_path, "maml")


@pytest.mark.parametrize("name", LEARNERS)
def test_predictions_are_those_of_the_learner_that_was_saved(name: str, tmp_path: Path) -> None:
    model = saved(tmp_path, name)
    support, query = pictures(LABELS), pictures(QUERY, seed=1)
    learner = built(LEARNERS[name]())
    fast = learner.adapt(learner.frozen_weights(), COLOUR.apply(support), LABELS)
    with torch.no_grad():
        expected = learner.logits(COLOUR.apply(query), fast)
    classifier = model.adapt(support, LABELS)
    assert torch.allclose(classifier.logits(query), expected, atol=1e-5)
    assert torch.allclose(classifier.predict(query), (expected / classifier.temperature).softmax(dim=1), atol=1e-5)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("counts", [(2, 2), (3, 1, 5), (1, 4, 2, 2, 3, 1, 1, 6, 1)], ids=str)
def test_any_number_of_classes_with_any_numbers_of_pictures_is_learnt(
    counts: tuple[int, ...], name: str, tmp_path: Path
) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    classifier = saved(tmp_path, name).adapt(pictures(labels), labels)
    asked = torch.arange(len(counts)).repeat(8)
    probabilities = classifier.predict(pictures(asked, seed=5))
    assert probabilities.shape == (len(asked), len(counts))
    assert probabilities.dtype == torch.float32
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(len(asked)))
    right = (probabilities.argmax(dim=1) == asked).float().mean()
    assert right >= 1.8 / len(counts)  # of an untrained network; guessing has 1 / len(counts)


def test_labels_may_be_names_and_the_columns_are_sorted(model: MetaModel) -> None:
    names = ["newt", "newt", "auk", "auk", "emu", "emu"]
    numbers = torch.tensor([2, 2, 0, 0, 1, 1])
    by_name = model.adapt(pictures(LABELS), names)
    assert by_name.class_names == ("auk", "emu", "newt")
    by_number = model.adapt(pictures(LABELS), numbers)
    assert by_number.class_names == ("0", "1", "2")
    query = pictures(QUERY, seed=1)
    assert torch.equal(by_name.predict(query), by_number.predict(query))


def test_bytes_and_floats_of_the_same_pictures_are_the_same_to_it(model: MetaModel) -> None:
    support, query = pictures(LABELS), pictures(QUERY, seed=1)
    from_bytes = model.adapt(support, LABELS).predict(query)
    assert torch.equal(model.adapt(support.float() / 255, LABELS).predict(query.double() / 255), from_bytes)


def test_adapting_leaves_the_meta_model_and_earlier_classifiers_as_they_are(model: MetaModel) -> None:
    before = {name: value.clone() for name, value in model.learner.state_dict().items()}
    query = pictures(QUERY, seed=1)
    first = model.adapt(pictures(LABELS), LABELS)
    answer = first.predict(query)
    model.adapt(pictures(LABELS, seed=2), LABELS.flip(0))
    assert torch.equal(first.predict(query), answer)
    assert not torch.equal(model.predict(query), answer)
    assert all(torch.equal(value, before[name]) for name, value in model.learner.state_dict().items())


def test_the_temperature_is_that_of_pictures_held_out(tmp_path: Path) -> None:
    model, support = saved(tmp_path, "euclidean"), pictures(LABELS)
    held_out = []
    for kept, held in (([1, 3, 5], [0, 2, 4]), ([0, 2, 4], [1, 3, 5])):
        held_out.append(model.adapt(support[kept], LABELS[kept]).logits(support[held]))
    expected = best_temperature(torch.cat(held_out), torch.tensor([0, 1, 2, 0, 1, 2]))
    assert model.adapt(support, LABELS).temperature == expected
    assert model.adapt(support[[0, 2, 4]], LABELS[[0, 2, 4]]).temperature == 1


def test_predict_before_adapt_says_so(model: MetaModel) -> None:
    with pytest.raises(PurerError, match="adapt"):
        model.predict(pictures(QUERY))


def test_an_answer_does_not_depend_on_what_else_is_asked_unless_transductive(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", built(Maml("conv4", WIDTH, inner_lr=0.1, batchnorm="transductive")))
    query = pictures(torch.arange(3).repeat(120), seed=1)  # more than one batch
    for mode, alone in ((None, True), ("support", True), ("transductive", False)):
        classifier = load(run, batchnorm=mode).adapt(pictures(LABELS), LABELS)  # type: ignore[arg-type]
        together = classifier.predict(query)[:2]
        assert torch.allclose(classifier.predict(query[:2]), together, atol=1e-5) is alone


def test_running_statistics_are_not_invented(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with pytest.raises(PurerError, match="batchnorm 'transductive' and cannot be used with 'running'"):
        load(run, batchnorm="running")


def test_icfil_is_that_of_the_evaluation_and_depends_on_its_seed_alone(model: MetaModel) -> None:
    from purer_lightning.evaluation.icfil import calibrate

    support, query = pictures(LABELS), pictures(QUERY, seed=1)
    learner = built(LEARNERS["maml"]())
    fast = learner.adapt(learner.frozen_weights(), COLOUR.apply(support), LABELS)
    calibrated = calibrate(learner, fast, COLOUR.apply(support), LABELS, model.calibration, 4, 0)
    with torch.no_grad():
        expected = learner.logits(COLOUR.apply(query), calibrated)
    assert torch.allclose(model.adapt(support, LABELS, icfil=True, seed=4).logits(query), expected, atol=1e-5)
    assert not torch.allclose(model.adapt(support, LABELS, icfil=True, seed=5).logits(query), expected, atol=1e-3)


def test_icfil_is_refused_where_it_does_not_apply(tmp_path: Path) -> None:
    with pytest.raises(PurerError, match="FeatureClassifier with batchnorm 'running'"):
        saved(tmp_path, "cosine").adapt(pictures(LABELS), LABELS, icfil=True)


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
    [
        (pictures(LABELS)[:, :1], LABELS, r"shape \(N, 3, 16, 16\), but got \(6, 1, 16, 16\)"),
        (pictures(LABELS)[0], LABELS, r"but got \(3, 16, 16\)"),
        (pictures(LABELS)[:0], LABELS[:0], r"but got \(0, 3, 16, 16\)"),
        (COLOUR.apply(pictures(LABELS)), LABELS, "floats from 0 to 1.*before any normalisation"),
        (pictures(LABELS).float() / torch.tensor(0.0), LABELS, "floats from 0 to 1"),
        (pictures(LABELS).long(), LABELS, r"but got torch\.int64"),
        (pictures(LABELS), LABELS[:4], "a label for each of the 6 pictures, but got 4"),
        (pictures(LABELS), ["cat"] * 6, "at least 2 classes .*'cat'"),
    ],
)
def test_what_cannot_be_adapted_to_is_refused(images: Tensor, labels: Any, expected: str, model: MetaModel) -> None:
    with pytest.raises(PurerError, match=expected):
        model.adapt(images, labels)


def test_arrays_and_labels_of_two_kinds_are_refused(model: MetaModel) -> None:
    support: Any = pictures(LABELS)
    mixed: Any = ["a", "a", 1, 1, 2, 2]
    for images, labels, expected in (
        (support.numpy(), LABELS, "a tensor of torch, but got ndarray"),
        (support, mixed, "numbers or names, but got int and str"),
    ):
        with pytest.raises(PurerError, match=expected):
            model.adapt(images, labels)


def test_read_takes_one_file_a_list_or_a_folder_and_names_what_it_cannot_find(model: MetaModel, tmp_path: Path) -> None:
    file = write_glyphs(tmp_path / "glyphs", {"heart": 1}) / "heart" / "0.png"
    one = model.read([file])
    assert torch.equal(model.read(file), one)
    assert torch.equal(model.read(str(file.parent)), one)
    for wrong, expected in (
        (tmp_path / "gone.png", r"read\(\) to name .* nothing is at '.*gone\.png'"),
        ([], r"read\(\)"),
    ):
        with pytest.raises(PurerError, match=expected):
            model.read(wrong)


def test_diverged_adaptation_is_not_a_prediction(tmp_path: Path) -> None:
    model = load(write_run(tmp_path / "run", built(Maml("conv4", WIDTH, inner_steps=4, inner_lr=1e30))))
    with pytest.raises(PurerError, match="has diverged"):
        model.adapt(pictures(LABELS), LABELS).predict(pictures(QUERY))


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        ([0, 0, 1, 1], [0, 1, 2, 3]),
        ([0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 2, 3, 4]),
        ([1, 0, 1, 1, 0], [0, 1, 1, 2, 3, 4, 4]),  # three pictures against two: four would be as far off as two
    ],
)
def test_classes_of_few_pictures_are_shown_more_often(labels: list[int], shown: list[int]) -> None:
    assert repeated(torch.tensor(labels)).tolist() == shown


@pytest.mark.parametrize("counts", [(1, 5), (2, 3), (7, 10), (1, 2, 100)], ids=str)
def test_no_class_weighs_more_than_one_and_a_half_times_another(counts: tuple[int, ...]) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    shown = torch.bincount(labels[repeated(labels)])
    assert shown.max() <= 1.5 * shown.min()


def test_a_run_folder_its_checkpoints_and_a_file_are_the_same_meta_model(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    for path in (run / "checkpoints", run / "checkpoints" / "best.ckpt", str(run)):
        assert load(path).record == load(run).record


def test_the_last_checkpoint_is_taken_where_there_is_no_best(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "checkpoints" / "best.ckpt").rename(run / "checkpoints" / "last.ckpt")
    assert load(run).record.learner == "Maml"


def test_a_run_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(PurerError, match=r"best\.ckpt or last\.ckpt in it, but '.*run' has neither"):
        load(tmp_path / "run")


def test_ones_own_learner_is_loaded_only_when_its_class_is_given(tmp_path: Path) -> None:
    class Mine(Maml):
        """A learner of the user's own."""

    run = write_run(tmp_path / "run", built(Mine("conv4", WIDTH)))
    with pytest.raises(PurerError, match="'Mine' is none of this package"):
        load(run)
    assert isinstance(load(run, learner=Mine).learner, Mine)


@pytest.mark.parametrize("key", ["learner", "settings", "way", "image_size", "normalisation"])
def test_a_description_with_a_gap_or_nonsense_is_refused(key: str, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for value in (None, [1.5], "nonsense"):
        content = checkpoint(built())
        content["meta_model"][key] = value
        torch.save(content, tmp_path / "checkpoints" / "best.ckpt")
        with pytest.raises(PurerError):
            load(tmp_path)


def test_weights_of_another_network_or_without_value_are_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    other, infinite = checkpoint(built()), checkpoint(built())
    other["meta_model"]["settings"]["arguments"] = {"width": 5}
    infinite["state_dict"]["learner.network.head.bias"] = torch.tensor([0.0, torch.nan, 0.0])
    for content, expected in ((other, "not those of its learner 'Maml': size mismatch"), (infinite, "head.bias")):
        torch.save(content, tmp_path / "checkpoints" / "best.ckpt")
        with pytest.raises(PurerError, match=expected):
            load(tmp_path)


def test_an_older_checkpoint_is_completed_from_its_run_and_pool(tmp_path: Path, toy_pool: Path) -> None:
    run = write_run(tmp_path / "run")
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    for key in ("settings", "normalisation", "class_path", "way", "channels", "image_size"):
        del content["meta_model"][key]
    torch.save(content, run / "checkpoints" / "best.ckpt")
    with pytest.raises(PurerError, match=r"config\.yaml"):
        load(run)
    learner = f"{{class_path: any.Thing, init_args: {{arguments: {WIDTH}, inner_lr: 0.2}}}}"
    (run / "config.yaml").write_text(f"model:\n  learner: {learner}\ndata:\n  way: 3\n  pool: gone\n")
    with pytest.raises(PurerError, match="gone"):
        load(run)
    model = load(run, pool=str(toy_pool))
    assert (model.record.way, model.record.channels, model.record.image_size) == (3, 3, SIZE)
    assert model.learner.settings()["inner_lr"] == 0.2


def test_icfils_settings_are_those_of_the_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert load(run).calibration.steps == 5
    (run / "config.yaml").write_text("evaluation:\n  calibration: {steps: 2, priors: {l2: 0.5}}\n")
    calibration = load(run).calibration
    assert (calibration.steps, calibration.priors.l2) == (2, 0.5)
    (run / "config.yaml").write_text("evaluation:\n  calibration: {paces: 2}\n")
    with pytest.raises(PurerError, match="paces"):
        load(run)


def test_the_package_offers_load_and_the_class() -> None:
    assert purer_lightning.load is load
    assert purer_lightning.MetaModel is MetaModel
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        purer_lightning.lode  # noqa: B018
