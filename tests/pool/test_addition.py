"""A user's own classifier enters a pool, or is refused before anything is written."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pool.pools import network
from purer_lightning.errors import PurerError
from purer_lightning.pool.addition import add
from purer_lightning.pool.checks import check
from purer_lightning.pool.manifest import read_manifest
from purer_lightning.pool.teachers import load_pool


class _Code:
    """Executes a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def _saved(folder: Path, name: str = "mine.pth", classes: int = 2) -> tuple[nn.Module, str]:
    made = network(classes, seed=ord(name[0]))  # other weights under another name
    torch.save(made.state_dict(), folder / name)
    return made, str(folder / name)


def _add(folder: Path, weights: str, class_names: list[str], **changes: Any) -> None:
    settings: dict[str, Any] = {"image_size": 16, "channels": 3, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}
    settings |= {"architecture": "conv4", "dataset": "things", "arguments": {"width": 4}}
    add(pool=str(folder / "pool"), weights=weights, class_names=class_names, **(settings | changes))


@pytest.mark.parametrize("form", ["state.pth", "wrapped.pt", "plain.safetensors"])
def test_a_state_dict_in_any_accepted_form_becomes_a_teacher(tmp_path: Path, form: str) -> None:
    made = network(2)
    if form.endswith("safetensors"):
        save_file(made.state_dict(), tmp_path / form)
    else:
        state = made.state_dict()
        torch.save({"state_dict": state, "epoch": 3} if form.startswith("wrapped") else state, tmp_path / form)
    _add(tmp_path, str(tmp_path / form), ["dog", "cat"], held_out_accuracy=0.9)
    check(str(tmp_path / "pool"))
    (teacher,) = load_pool(tmp_path / "pool").teachers
    assert teacher.record.name == form.split(".")[0]
    assert (teacher.record.class_names, teacher.record.held_out_accuracy) == (["dog", "cat"], 0.9)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(teacher.network(images), made(images))


def test_double_precision_and_channels_last_weights_are_stored_plain(tmp_path: Path) -> None:
    made = network(2).double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.save(made.state_dict(), tmp_path / "mine.pth")
    _add(tmp_path, str(tmp_path / "mine.pth"), ["dog", "cat"])
    tensors = load_pool(tmp_path / "pool").teachers[0].network.state_dict().values()
    assert all(tensor.is_contiguous() and tensor.dtype in (torch.float32, torch.int64) for tensor in tensors)


def test_the_same_class_name_gets_the_same_id_and_no_two_names_share_one(tmp_path: Path) -> None:
    for name, names in {"a": ["dog", "cat"], "b": ["cow", "cat"], "c": ["dog", "owl", "cow"]}.items():
        _, weights = _saved(tmp_path, f"{name}.pth", len(names))
        _add(tmp_path, weights, names)
    _, weights = _saved(tmp_path, "d.pth")
    _add(tmp_path, weights, ["dog", "cat"], dataset="drawings")
    ids = {record.name: record.class_ids for record in read_manifest(tmp_path / "pool").teachers}
    assert ids == {"a": [0, 1], "b": [2, 1], "c": [0, 3, 2], "d": [0, 1]}
    assert [known.name for known in load_pool(tmp_path / "pool").classes[2:]] == ["dog", "cat", "cow", "owl"]


def test_given_class_ids_are_kept_and_new_names_avoid_them(tmp_path: Path) -> None:
    _add(tmp_path, _saved(tmp_path, "a.pth")[1], ["dog", "cat"], class_ids=[7, 3])
    _add(tmp_path, _saved(tmp_path, "b.pth")[1], ["owl", "cat"])
    assert [record.class_ids for record in read_manifest(tmp_path / "pool").teachers] == [[7, 3], [8, 3]]
    with pytest.raises(PurerError, match="calls class 3 of things 'hen', but elsewhere in the pool class 3 is 'cat'"):
        _add(tmp_path, _saved(tmp_path, "c.pth")[1], ["hen", "dog"], class_ids=[3, 7])


def test_a_pickle_with_code_is_refused_and_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": network(2).state_dict(), "extra": _Code()}, tmp_path / "evil.pth")
    with pytest.raises(PurerError, match=r"evil.pth' holds more than tensors.*could execute code, so it is refused"):
        _add(tmp_path, str(tmp_path / "evil.pth"), ["dog", "cat"])
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "pool").exists()


def test_a_whole_saved_module_is_refused(tmp_path: Path) -> None:
    torch.save(network(2), tmp_path / "module.pth")
    with pytest.raises(PurerError, match="it is refused"):
        _add(tmp_path, str(tmp_path / "module.pth"), ["dog", "cat"])


def _with_nan() -> dict[str, torch.Tensor]:
    state = network(2).state_dict()
    state["head.bias"][0] = torch.nan
    return state


@pytest.mark.parametrize(
    ("content", "changes", "sentence"),
    [
        (_with_nan, {}, "'head.bias' has 1 values that are NaN"),
        (lambda: network(3).state_dict(), {}, "its head has 3 outputs, but 2 classes are named"),
        (lambda: network(2, image_size=32).state_dict(), {}, "'head.weight' is float32"),
        (lambda: network(2).state_dict(), {"architecture": "resnet10"}, "not those of resnet10"),
        (lambda: network(2).state_dict(), {"architecture": "conv"}, "Did you mean 'conv4'"),
        (lambda: network(2).state_dict(), {"arguments": {"widht": 4}}, "do not fit conv4"),
        (lambda: network(2).state_dict(), {"mean": [0.5]}, "Expected 3 means and deviations"),
        (lambda: network(2).state_dict(), {"class_ids": [1, 1]}, "at least two different classes"),
        (lambda: network(2).state_dict(), {"class_ids": [1, 2, 3]}, "2 outputs for 3 class ids"),
        (lambda: network(2).state_dict(), {"name": "../x"}, "Expected a teacher's `name`"),
        (lambda: network(2).state_dict(), {"held_out_accuracy": 87.5}, "fraction between 0 and 1"),
        (lambda: {"epoch": 3}, {}, "found a dictionary with int"),
        (lambda: torch.ones(3), {}, "found one Tensor"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    tmp_path: Path, content: Any, changes: dict[str, Any], sentence: str
) -> None:
    torch.save(content(), tmp_path / "mine.pth")
    with pytest.raises(PurerError, match=sentence):
        _add(tmp_path, str(tmp_path / "mine.pth"), ["dog", "cat"], **changes)
    assert not (tmp_path / "pool").exists()


def test_a_teacher_unlike_the_pool_or_of_a_taken_name_leaves_it_as_it_was(tmp_path: Path) -> None:
    _, weights = _saved(tmp_path)
    _add(tmp_path, weights, ["dog", "cat"])
    before = {path.name: path.read_bytes() for path in (tmp_path / "pool").iterdir()}
    for changes, sentence in (
        ({}, "already has a teacher 'mine'"),
        ({"name": "two", "image_size": 32}, "share one image_size: the pool has 16, but .* has 32"),
        ({"name": "two", "mean": [0.1, 0.4, 0.3]}, "share one normalisation"),
    ):
        with pytest.raises(PurerError, match=sentence):
            _add(tmp_path, weights, ["dog", "cat"], **changes)
    assert {path.name: path.read_bytes() for path in (tmp_path / "pool").iterdir()} == before


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
def test_a_damaged_or_missing_file_is_called_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(PurerError, match="there is no such file"):
        _add(tmp_path, str(tmp_path / name), ["dog", "cat"])
    made = network(2).state_dict()
    if name.endswith("pth"):
        torch.save(made, tmp_path / name)
    else:
        save_file(made, tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-100])
    with pytest.raises(PurerError, match="damaged"):
        _add(tmp_path, str(tmp_path / name), ["dog", "cat"])


def _prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in network(2).state_dict().items()}


def _without_counters(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def _zero_counters(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(0) for name in state if name.endswith("num_batches_tracked")}


def _optimiser_state() -> dict[str, Any]:
    made = network(2)
    optimiser = torch.optim.AdamW(made.parameters())
    made(torch.zeros(2, 3, 16, 16)).sum().backward()
    optimiser.step()
    return optimiser.state_dict()


def _taken() -> dict[str, Any]:
    state = network(2).state_dict()
    return {
        **{prefix: _prefixed(prefix) for prefix in ("module.", "_orig_mod.", "model.", "a.b.c.")},
        **{key: {key: state, "epoch": 3} for key in ("model", "net", "params", "mine")},
        "of DataParallel, in a checkpoint": {"state_dict": _prefixed("module."), "epoch": 3},
        "with an optimiser": {"model": state, "optimizer": _optimiser_state()},
        "with a loss of tensors": {"state_dict": {**_prefixed("model."), "criterion.weight": torch.ones(2)}},
        "twice nested": {"state": {"network": state}},
        "without counters": _without_counters(state),
        "with float counters": {name: tensor.float() for name, tensor in state.items()},
        "in double precision": {name: tensor.double() for name, tensor in state.items()},
    }


@pytest.mark.parametrize("form", _taken())
def test_weights_as_they_lie_about_become_the_same_teacher(form: str, tmp_path: Path) -> None:
    torch.save(_taken()[form], tmp_path / "mine.pth")
    _add(tmp_path, str(tmp_path / "mine.pth"), ["dog", "cat"])
    found = load_pool(tmp_path / "pool").teachers[0].network.state_dict()
    assert found.keys() == network(2).state_dict().keys()
    expected = network(2).state_dict() | ({} if form != "without counters" else _zero_counters(found))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_stored_as_the_same_numbers(dtype: torch.dtype, tmp_path: Path) -> None:
    half = {name: tensor.to(dtype) for name, tensor in network(2).state_dict().items()}
    save_file(half, tmp_path / "mine.safetensors")
    _add(tmp_path, str(tmp_path / "mine.safetensors"), ["dog", "cat"])
    found = load_pool(tmp_path / "pool").teachers[0].network.state_dict()
    assert all(torch.equal(found[name], tensor.to(found[name].dtype)) for name, tensor in half.items())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (lambda: {"model": network(2).state_dict(), "ema": network(2, 1).state_dict()}, "2 sets of .* 'model', 'ema'"),
        (lambda: {**_prefixed("student."), **_prefixed("teacher.")}, "2 sets of tensors .* 'student.', 'teacher.'"),
        (lambda: {"a": {"x": torch.ones(1)}, "b": {"y": torch.ones(1)}}, "tensors under 'a', 'b', none of them"),
        (lambda: {n: t.to(torch.int8) for n, t in network(2).state_dict().items()}, "it is int8, as quantised"),
        (lambda: {n: t.to(torch.complex64) for n, t in network(2).state_dict().items()}, "is complex64"),
        (lambda: {n: t for n, t in _prefixed("module.").items() if "bias" not in n}, "missing .*bias.*unexpected none"),
        (dict, "found a dictionary with nothing"),
    ],
)
def test_what_leaves_a_doubt_is_refused_by_what_was_found(content: Any, sentence: str, tmp_path: Path) -> None:
    torch.save(content(), tmp_path / "mine.pth")
    with pytest.raises(PurerError, match=sentence):
        _add(tmp_path, str(tmp_path / "mine.pth"), ["dog", "cat"])
    assert not (tmp_path / "pool").exists()


@pytest.mark.parametrize(
    ("mean", "std", "advice"),
    [
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375], "divide `mean` and `std` by 255"),
        ([103.53, 116.28, 123.675], [1.0, 1.0, 1.0], "divide `mean` and `std` by 255"),
        ([0.485, 0.456, 0.406], [58.395, 57.12, 57.375], "; divide `std` by 255"),
        ([123.675, 116.28, 103.53], [0.229, 0.224, 0.225], "divide `mean` by 255"),
        ([-0.1] * 3, [0.2] * 3, "give those that the classifier's training used"),
    ],
)
def test_mean_and_deviation_of_bytes_are_refused(
    mean: list[float], std: list[float], advice: str, tmp_path: Path
) -> None:
    with pytest.raises(PurerError, match=advice):
        _add(tmp_path, _saved(tmp_path)[1], ["dog", "cat"], mean=mean, std=std)
    assert not (tmp_path / "pool").exists()


@pytest.mark.parametrize(("mean", "std"), [([0.0] * 3, [1.0] * 3), ([0.5] * 3, [0.5] * 3), ([1.0] * 3, [1 / 255] * 3)])
def test_mean_and_deviation_of_images_from_0_to_1_are_taken(
    mean: list[float], std: list[float], tmp_path: Path
) -> None:
    _add(tmp_path, _saved(tmp_path)[1], ["dog", "cat"], mean=mean, std=std)
    assert read_manifest(tmp_path / "pool").normalisation.std == tuple(std)


def test_the_same_weights_do_not_enter_a_pool_twice(tmp_path: Path) -> None:
    made, weights = _saved(tmp_path)
    _add(tmp_path, weights, ["dog", "cat"])
    torch.save(_without_counters(made.double().state_dict()), tmp_path / "copy.pth")
    with pytest.raises(PurerError, match="already has these weights, as teacher 'mine'"):
        _add(tmp_path, str(tmp_path / "copy.pth"), ["hen", "owl"])
    assert [record.name for record in read_manifest(tmp_path / "pool").teachers] == ["mine"]


def test_classifiers_that_are_added_at_once_all_enter_and_no_two_classes_share_an_id(tmp_path: Path) -> None:
    names = [f"{letter}.pth" for letter in "abcdef"]
    weights = [_saved(tmp_path, name)[1] for name in names]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda file: _add(tmp_path, file, [f"{Path(file).stem}1", f"{Path(file).stem}2"]), weights))
    records = [teacher.record for teacher in load_pool(tmp_path / "pool").teachers]
    assert sorted(record.name for record in records) == list("abcdef")
    assert sorted(number for record in records for number in record.class_ids) == list(range(12))


def test_of_classifiers_of_one_name_that_are_added_at_once_one_enters(tmp_path: Path) -> None:
    weights = [_saved(tmp_path, f"{letter}.pth")[1] for letter in "abcd"]

    def outcome(file: str) -> str:
        try:
            _add(tmp_path, file, ["dog", "cat"], name="one")
        except PurerError as error:
            return str(error)
        return "added"

    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(outcome, weights))
    assert outcomes.count("added") == 1
    assert sum("already has a teacher 'one'" in found for found in outcomes) == 3


@pytest.mark.parametrize(
    ("names", "changes", "expected"),
    [
        (["", "cat"], {}, "a name for every class"),
        (["dog", "cat"], {"class_ids": [-1, 5]}, "to be 0 or more, but got -1"),
    ],
)
def test_blank_names_and_negative_ids_are_refused(
    names: list[str], changes: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(PurerError, match=expected):
        _add(tmp_path, _saved(tmp_path)[1], names, **changes)
    assert not (tmp_path / "pool").exists()


def test_a_name_in_another_normal_form_is_the_class_that_the_pool_knows(tmp_path: Path) -> None:
    composed, decomposed = "Caf\u00e9", "Cafe\u0301"
    _add(tmp_path, _saved(tmp_path, "one.pth")[1], [composed, "cat"])
    _add(tmp_path, _saved(tmp_path, "two.pth")[1], ["dog", decomposed])
    assert [record.class_ids for record in read_manifest(tmp_path / "pool").teachers] == [[0, 1], [2, 0]]
