"""The library gives the same bits whatever its caller has switched on, and leaves that as it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from purer_lightning.adaptation.classifier import load_adapted
from purer_lightning.adaptation.meta_model import MetaModel, load
from purer_lightning.errors import PurerError
from purer_lightning.learners import Maml
from runs import WIDTH, built, pictures, write_run

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
SUPPORT, QUERY = pictures(LABELS), pictures(torch.tensor([2, 0, 1, 1]), seed=1)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=False)


@contextmanager
def coarse_products() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


SURROUNDINGS: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "meta device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "deterministic": deterministic,
    "coarse products": coarse_products,
    "three threads": lambda: threads(3),
}


def state() -> list[Any]:
    """Return everything that a caller may have set."""
    return [
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
        torch.is_warn_always_enabled(),
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    learner = Maml("conv4", WIDTH, inner_steps=5, inner_lr=0.3, batchnorm="support")
    return write_run(tmp_path_factory.mktemp("run") / "run", built(learner))


def answers(run: Path, file: Path) -> list[Tensor]:
    """Return what all that the library offers says."""
    model = load(run)
    classifier = model.adapt(SUPPORT, LABELS)
    calibrated = model.adapt(SUPPORT.float() / 255, LABELS, icfil=True)
    classifier.save(file)
    again = load_adapted(file)
    model.save_pretrained(file.parent / "pretrained")
    shared = MetaModel.from_pretrained(file.parent / "pretrained").adapt(SUPPORT, LABELS)
    return [each.predict(QUERY) for each in (model, classifier, calibrated, again, shared)]


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_the_answers_are_the_same_to_the_bit_and_the_callers_state_stays(name: str, run: Path, tmp_path: Path) -> None:
    expected = answers(run, tmp_path / "expected.safetensors")
    with SURROUNDINGS[name]():
        before = state()
        found = answers(run, tmp_path / "found.safetensors")
        assert state() == before
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert (tmp_path / "found.safetensors").read_bytes() == (tmp_path / "expected.safetensors").read_bytes()


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_refusal_leaves_the_callers_state_too(name: str, run: Path) -> None:
    with SURROUNDINGS[name]():
        before = state()
        with pytest.raises(PurerError):
            load(run).adapt(SUPPORT, LABELS[:3])
        assert state() == before


def test_what_was_loaded_or_made_in_inference_mode_is_used_outside_of_it(run: Path) -> None:
    expected = load(run).adapt(SUPPORT, LABELS).predict(QUERY)
    with torch.inference_mode():
        served, support, query = load(run), SUPPORT.float() / 255, QUERY.clone()
    assert torch.allclose(served.adapt(support, LABELS).predict(query), expected, atol=1e-6)
    with torch.inference_mode():
        classifier = served.adapt(SUPPORT, LABELS)
    assert torch.equal(classifier.predict(QUERY), expected)


def test_pictures_that_ask_for_gradients_get_none(run: Path) -> None:
    images = (SUPPORT.float() / 255).requires_grad_()
    answer = load(run).adapt(images, LABELS).predict(images)
    assert not answer.requires_grad
    assert images.grad is None


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.view(-1, 1),
        LABELS.numpy(),
        LABELS.numpy().reshape(-1, 1),
        LABELS.to(torch.uint8),
        list(LABELS),
        list(LABELS.numpy()),
        [[label] for label in LABELS.tolist()],
        tuple(LABELS.tolist()),
        iter(LABELS.tolist()),
    ],
    ids=["column", "array", "column of an array", "uint8", "tensors", "scalars of NumPy", "rows", "tuple", "iterator"],
)
def test_labels_of_other_shapes_and_types_are_the_same_labels(labels: Any, run: Path) -> None:
    expected, found = (load(run).adapt(SUPPORT, given) for given in (LABELS, labels))
    assert found.class_names == expected.class_names == ("0", "1", "2")
    assert torch.equal(found.predict(QUERY), expected.predict(QUERY))


def test_names_in_an_array_are_names(run: Path) -> None:
    names = np.array(["a", "bb", "ccc"])[LABELS.numpy()]
    assert load(run).adapt(SUPPORT, names).class_names == ("a", "bb", "ccc")


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (torch.eye(3)[LABELS], r"shape \(6,\).*but got \(6, 3\); for one-hot rows give labels.argmax\(1\)"),
        (np.eye(3)[LABELS.numpy()], "one-hot"),
        (torch.tensor(1), r"got \(\)"),
        (list(torch.eye(3)[LABELS]), r"got one of shape \(3,\)"),
        (["a", "a", "b", "b", 2, 2], "numbers or names, but got int and str"),
        ([None] * 6, "got None"),
        ([0.0, 0.0, 1.0, 1.0, float("nan"), 2.0], "got nan"),
        ("aabbcc", "got str"),
        (7, "got int"),
        ([[0, 1]] * 6, r"got \[0, 1\]"),
        (torch.zeros(6, 1), "got 1 class, '0.0'"),
    ],
)
def test_other_labels_are_refused_in_a_sentence(labels: Any, sentence: str, run: Path) -> None:
    with pytest.raises(PurerError, match=sentence):
        load(run).adapt(SUPPORT, labels)
