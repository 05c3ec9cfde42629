"""A file is called what it is, whatever its name says, wherever weights are asked for."""

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from purer_lightning.adaptation.classifier import load_adapted
from purer_lightning.errors import PurerError
from purer_lightning.files.contents import content_of
from purer_lightning.nets import NetworkSpec
from purer_lightning.pool.weights import read_weights, tensors_of
from purer_lightning.running.checkpoints import read_checkpoint

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"


def torchscript() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"content")
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))
    return buffer.getvalue()


def array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def onnx() -> bytes:
    package = pytest.importorskip("onnx")
    helper = package.helper
    ends = [helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:])
    content: bytes = helper.make_model(graph).SerializeToString()
    return content


# What is written -> (what it is called, what to do about it whatever was asked for).
FOREIGN: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "empty": (bytes, "damaged, since it is empty", "copy or download it again"),
    "pointer": (lambda: POINTER, "a pointer of Git LFS", "git lfs pull"),
    "page": (lambda: PAGE, "a page of the web", "download it again"),
    "torchscript": (torchscript, "a TorchScript archive", ""),
    "onnx": (onnx, "an ONNX model", ""),
    "keras": (lambda: zipped("model.weights.h5"), "a Keras model", ""),
    "hdf5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(90), "an HDF5 file, as Keras and TensorFlow write them", ""),
    "zip": (lambda: zipped("best/weights.pth"), "a zip archive of other files", "unpack it"),
    "npz": (lambda: zipped("weight.npy"), "an archive of NumPy arrays", ""),
    "tar": (tarred, "a tar archive", "unpack it"),
    "gzip": (lambda: gzip.compress(b"weights"), "a gzip archive", "unpack it"),
    "npy": (array, "an array of NumPy", ""),
    "json": (lambda: b'{"a": [1, 2]}', "a text in JSON", ""),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_for_a_pool_of_another_kind_are_called_by_it(name: str, suffix: str, tmp_path: Path) -> None:
    content, what, remedy = FOREIGN[name]
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(content())
    with pytest.raises(PurerError, match=f"'{file}', but it is {what}.*{remedy}") as refused:
        read_weights(str(file), {})
    assert "execute" not in str(refused.value)


@pytest.mark.parametrize("name", FOREIGN)
def test_a_checkpoint_of_another_kind_is_called_by_it(name: str, tmp_path: Path) -> None:
    content, what, remedy = FOREIGN[name]
    file = tmp_path / "best.ckpt"
    file.write_bytes(content())
    with pytest.raises(PurerError, match=f"cannot be read as a checkpoint: it is {what}.*; .*{remedy}"):
        read_checkpoint(file)


@pytest.mark.parametrize("name", FOREIGN)
def test_an_adapted_classifier_of_another_kind_is_called_by_it(name: str, tmp_path: Path) -> None:
    content, what, remedy = FOREIGN[name]
    file = tmp_path / "model.safetensors"
    file.write_bytes(content())
    with pytest.raises(PurerError, match=f"is no adapted classifier; .*it is {what}.*{remedy}"):
        load_adapted(file)


def test_safetensors_and_files_of_torch_are_read_whatever_their_names_say(tmp_path: Path) -> None:
    spec = NetworkSpec("conv4", classes=2, channels=3, image_size=16, arguments={"width": 4})
    state = spec.build(running_statistics=True).state_dict()
    (tmp_path / "really_safetensors.pth").write_bytes(save(state))
    torch.save(state, tmp_path / "really_torch.safetensors")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for file in tmp_path.iterdir():
        found = read_weights(str(file), tensors_of(spec))
        assert all(torch.equal(found.tensors[name], tensor) for name, tensor in state.items())


def test_what_torch_saves_is_nothing_else(tmp_path: Path) -> None:
    for zipped_file in (True, False):
        torch.save({"a": torch.zeros(3)}, tmp_path / "file", _use_new_zipfile_serialization=zipped_file)
        assert content_of(tmp_path / "file") is None


def test_a_whole_module_and_a_foreign_object_are_told_apart_by_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    torch.save(torch.nn.Linear(2, 2), file)
    with pytest.raises(PurerError, match=r"\(a whole module, torch.nn.modules.linear.Linear\).*it is refused"):
        read_weights(str(file), {})
    torch.save({"state_dict": torch.nn.Linear(2, 2).state_dict(), "path": Path("x")}, file)
    with pytest.raises(PurerError, match=r"holds more than tensors \(pathlib\.[\w.]+\).*it is refused"):
        read_weights(str(file), {})


@pytest.mark.parametrize(("kind", "sentence"), [("folder", "it is a folder"), ("pipe", "it is no file")])
def test_what_is_no_file_is_not_called_missing(kind: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(PurerError, match=sentence):
        read_weights(str(path), {})
