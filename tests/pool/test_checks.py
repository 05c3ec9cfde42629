"""Every bad pool is refused with a sentence that names the teacher, its file, what was found and the remedy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pool.pools import network, store
from purer_lightning.errors import PurerError
from purer_lightning.pool.checks import check
from purer_lightning.pool.teachers import load_pool


def _edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / "pool.json").read_text())
    change(content)
    (folder / "pool.json").write_text(json.dumps(content))


def _refused(folder: Path, *sentences: str) -> None:
    """Both the check and the loading refuse the pool, naming the teacher and its file."""
    for reader in (lambda: check(str(folder)), lambda: load_pool(folder)):
        with pytest.raises(PurerError) as caught:
            reader()
        for sentence in ("'bad'", "bad.safetensors", *sentences):
            assert sentence in str(caught.value)


def test_a_missing_folder_or_manifest_names_the_commands_that_make_one(tmp_path: Path) -> None:
    with pytest.raises(PurerError, match=r"no such folder.*purer pretrain --config cifar_fs_pool.*purer pool add"):
        load_pool(tmp_path / "none")
    with pytest.raises(PurerError, match=r"pool.json in .*a folder without it.*purer pretrain"):
        check(str(tmp_path))


def test_a_good_pool_passes_and_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path, "fine", [3, 1])
    check(str(tmp_path))
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("fine", "conv4", "dove", "bear", "75.0", "ok"))


def test_every_bad_teacher_is_named_after_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("first", "fine", "second"):
        store(tmp_path, name, [0, 1])
    for name in ("first", "second"):
        (tmp_path / f"{name}.safetensors").unlink()
    with pytest.raises(PurerError) as caught:
        check(str(tmp_path))
    assert str(caught.value).count("cannot be read (No such file or directory)") == 2
    assert "fine" not in str(caught.value)
    assert capsys.readouterr().out.count(" bad ") == 2


def test_a_changed_file_has_a_wrong_hash(tmp_path: Path) -> None:
    store(tmp_path, "bad", [0, 1])
    path = tmp_path / "bad.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    _refused(tmp_path, "expected sha256", "purer pretrain")


@pytest.mark.parametrize("kept", [0, 5, 200, -1])
def test_a_truncated_file_is_called_so(tmp_path: Path, kept: int) -> None:
    store(tmp_path, "bad", [0, 1])
    path = tmp_path / "bad.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    _refused(tmp_path, "truncated or damaged", "purer pretrain")


def test_a_nan_in_a_teacher_is_found(tmp_path: Path) -> None:
    weights = network(2).state_dict()
    weights["blocks.2.0.weight"][0, 0, 0, 0] = torch.nan
    store(tmp_path, "bad", [0, 1], weights)
    _refused(tmp_path, "'blocks.2.0.weight' has 1 values that are NaN or infinite")


@pytest.mark.parametrize("variance", [0.0, -1.0])
def test_a_running_variance_must_be_positive(tmp_path: Path, variance: float) -> None:
    weights = network(2).state_dict()
    weights["blocks.1.1.running_var"][3] = variance
    store(tmp_path, "bad", [0, 1], weights)
    _refused(tmp_path, f"'blocks.1.1.running_var' has a variance of {variance:g}")


def test_a_head_that_does_not_fit_the_classes_is_refused(tmp_path: Path) -> None:
    store(tmp_path, "bad", [0, 1], network(5).state_dict())
    _refused(tmp_path, "its head has 5 outputs, but 2 classes are named")


def test_a_described_head_that_does_not_fit_the_classes_is_refused(tmp_path: Path) -> None:
    store(tmp_path, "bad", [0, 1, 2], outputs=4)
    _refused(tmp_path, "its head has 4 outputs for 3 class ids")


def test_a_teacher_for_another_image_size_is_refused(tmp_path: Path) -> None:
    store(tmp_path, "bad", [0, 1])
    _edit(tmp_path, lambda pool: pool["teachers"][0]["network"].update(image_size=32))
    _refused(tmp_path, "image_size 16, but this teacher was made for 32")


def test_weights_of_another_image_size_are_refused(tmp_path: Path) -> None:
    store(tmp_path, "bad", [0, 1], network(2, image_size=32).state_dict())
    _refused(
        tmp_path, "'head.weight' is float32 (2, 16), but conv4 (width 4) for 3 x 16 x 16 images has float32 (2, 4)"
    )


def test_an_unknown_architecture_is_refused_with_the_nearest(tmp_path: Path) -> None:
    store(tmp_path, "bad", [0, 1])
    _edit(tmp_path, lambda pool: pool["teachers"][0]["network"].update(architecture="conv5"))
    _refused(tmp_path, "got 'conv5'", "Did you mean 'conv4'?")


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    weights = network(2).state_dict()
    weights["classifier.weight"] = weights.pop("head.weight")
    store(tmp_path, "bad", [0, 1], weights)
    _refused(tmp_path, "missing head.weight, unexpected classifier.weight")


def test_half_precision_weights_are_refused(tmp_path: Path) -> None:
    weights = network(2).state_dict()
    weights["head.weight"] = weights["head.weight"].half()
    store(tmp_path, "bad", [0, 1], weights)
    _refused(tmp_path, "'head.weight' is float16")


def test_repeated_classes_are_refused(tmp_path: Path) -> None:
    store(tmp_path, "bad", [1, 1])
    _refused(tmp_path, "at least two different classes", "[1, 1]")


def test_one_class_id_cannot_have_two_names(tmp_path: Path) -> None:
    store(tmp_path, "a", [0, 1])
    store(tmp_path, "bad", [1, 2])
    _edit(tmp_path, lambda pool: pool["teachers"][1].update(class_names=["boar", "cup"]))
    _refused(tmp_path, "calls class 1 of things 'boar', but elsewhere in the pool class 1 is 'bear'")


def test_another_normalisation_cannot_enter_a_pool(tmp_path: Path) -> None:
    store(tmp_path, "one", [0, 1])
    store(tmp_path / "other", "two", [2, 3])
    path = tmp_path / "other" / "two.json"
    (tmp_path / "two.json").write_text(path.read_text().replace("0.25", "0.26"))
    (tmp_path / "other" / "two.safetensors").rename(tmp_path / "two.safetensors")
    with pytest.raises(PurerError, match=r"share one normalisation.*teacher 'two' \(two.safetensors\) has.*0.26"):
        store(tmp_path, "three", [4, 5])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda pool: pool.update(format=7), "Expected format 1 in .*, but found 7"),
        (lambda pool: pool.pop("channels"), "is damaged: 'channels' is missing"),
        (lambda pool: pool["teachers"][0].pop("sha256"), r"is damaged: 'teachers\[0\].sha256' is missing"),
        (
            lambda pool: pool["teachers"][0].update(class_ids=["0", 1]),
            r"expected 'teachers\[0\].class_ids\[0\]' to be a whole number, but found \"0\"",
        ),
        (
            lambda pool: pool["teachers"][0].update(file="../bad.safetensors"),
            r"expected 'teachers\[0\].file' to be a file's name without a path, but found \"../bad",
        ),
        (lambda pool: pool["normalisation"].update(mean=[0.5]), "Expected 3 means and deviations"),
        (lambda pool: pool["normalisation"].update(std=[1, 1, 0]), "positive deviations"),
        (lambda pool: pool.update(teachers=[]), "lists no teachers"),
        (lambda pool: pool["teachers"].append(pool["teachers"][0]), "Two teachers of the pool are named 'bad'"),
    ],
)
def test_a_damaged_manifest_says_what_is_wrong(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    store(tmp_path, "bad", [0, 1])
    _edit(tmp_path, change)
    for reader in (lambda: check(str(tmp_path)), lambda: load_pool(tmp_path)):
        with pytest.raises(PurerError, match=sentence):
            reader()


def test_a_manifest_that_is_no_json_is_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "pool.json").write_text('{"format": 1, "ima')
    with pytest.raises(PurerError, match="is damaged: it is no JSON"):
        load_pool(tmp_path)
