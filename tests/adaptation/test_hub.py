"""A meta-model as a folder by the hub's conventions: whole, honest about its results, and no network."""

import json
import socket
from pathlib import Path

import pytest
import torch
import yaml

from purer_lightning.adaptation.meta_model import MetaModel, load
from purer_lightning.errors import PurerError
from purer_lightning.learners import Maml
from runs import WIDTH, built, pictures, write_run

LABELS = torch.tensor([0, 0, 1, 1])
CONFIG = """
seed_everything: 3
trainer: {max_steps: 120}
model: {objective: null, curriculum: {enabled: true}}
synthesis: {source: pool}
data: {dataset: toy, pool: /somewhere/private/pools/toy, way: 3, shot: 1}
evaluation: {calibration: {steps: 2}}
"""
INTERVAL = {"mean": 0.4567, "ci95": 0.0123, "episodes": 600}
RESULTS = {
    **{"dataset": "toy", "split": "test", "way": 3, "shot": 1, "query": 15, "transductive": True},
    "meta_model": {"batchnorm": "transductive"},
    "checkpoint": "/somewhere/private/checkpoints/best.ckpt",
    "results": [{"plain": {"mean": 0.1, "ci95": 0.1, "episodes": 5}}, {"plain": INTERVAL, "icfil": INTERVAL}],
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with its configuration and its test's results."""
    run = write_run(tmp_path / "run", built(Maml("conv4", WIDTH, inner_lr=0.1)))
    (run / "config.yaml").write_text(CONFIG)
    (run / "test").mkdir()
    (run / "test" / "results.json").write_text(json.dumps(RESULTS))
    return run


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_what_was_saved_is_the_same_meta_model_by_every_way_of_loading(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "saved"
    model = load(run)
    model.save_pretrained(folder)
    query = pictures(LABELS, seed=1)
    expected = model.adapt(pictures(LABELS), LABELS, icfil=True).predict(query)
    for again in (load(folder), MetaModel.from_pretrained(folder), MetaModel.from_pretrained(str(folder))):
        assert again.record == model.record
        assert again.calibration == model.calibration
        assert again.calibration.steps == 2
        assert torch.equal(again.adapt(pictures(LABELS), LABELS, icfil=True).predict(query), expected)


def test_a_folder_is_what_the_hub_expects_and_saving_again_changes_nothing(run: Path, tmp_path: Path) -> None:
    load(run).save_pretrained(tmp_path / "saved", licence="apache-2.0")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    load(tmp_path / "saved").save_pretrained(tmp_path / "again" / "saved", licence="apache-2.0")
    for path in (tmp_path / "saved").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / "saved" / path.name).read_bytes()


def test_the_card_has_the_runs_data_settings_and_results_with_intervals(run: Path, tmp_path: Path) -> None:
    load(run).save_pretrained(tmp_path / "saved", licence="apache-2.0")
    _, header, text = (tmp_path / "saved" / "README.md").read_text().split("---\n", 2)
    said = yaml.safe_load(header)
    assert (said["license"], said["library_name"]) == ("apache-2.0", "purer-lightning")
    (result, _) = said["model-index"][0]["results"][0]["metrics"]
    assert (result["type"], result["value"]) == ("accuracy", 0.4567)
    assert "3-way 1-shot, 600 episodes" in result["name"]
    for expected in (
        "without any of their training data",
        "| dataset | toy |",
        "| pool | toy |",
        "| updates | 90 |",
        "| planned updates | 120 |",
        "| objective | Episodic |",
        "| learner's inner_lr | 0.1 |",
        "| toy, test | 3-way 1-shot | plain | transductive | 600 | 45.67 ± 1.23 |",
        'from_pretrained("saved")',
    ):
        assert expected in text
    assert "private" not in header + text + (tmp_path / "saved" / "config.json").read_text()


def test_the_card_of_an_untested_run_says_so_and_one_of_real_images_is_not_called_data_free(
    run: Path, tmp_path: Path
) -> None:
    (run / "test" / "results.json").unlink()
    (run / "config.yaml").write_text(CONFIG.replace("source: pool", "source: real"))
    load(run).save_pretrained(tmp_path / "saved")
    text = (tmp_path / "saved" / "README.md").read_text()
    assert "license: unknown" in text
    assert "`purer test` measures them" in text
    assert "not data-free" in text


@pytest.mark.parametrize("tested", ["runs/toy/checkpoints/last.ckpt", None])
def test_the_card_gives_no_other_checkpoints_results_for_its_own(tested: str | None, run: Path, tmp_path: Path) -> None:
    (run / "test" / "results.json").write_text(json.dumps(RESULTS | {"checkpoint": tested}))
    load(run).save_pretrained(tmp_path / "saved")
    text = (tmp_path / "saved" / "README.md").read_text()
    assert "None of this checkpoint were found" in text
    assert "45.67" not in text


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_or_missing_file_is_named(name: str, run: Path, tmp_path: Path) -> None:
    load(run).save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / name).write_bytes(b"damaged")
    with pytest.raises(PurerError, match="save_pretrained wrote"):
        load(tmp_path / "saved")
    (tmp_path / "saved" / name).unlink()
    with pytest.raises(PurerError, match="save_pretrained wrote"):
        MetaModel.from_pretrained(tmp_path / "saved")


def test_another_models_folder_is_refused(run: Path, tmp_path: Path) -> None:
    load(run).save_pretrained(tmp_path / "saved")
    for content in ('{"model_type": "bert"}', "[1]", '{"format": 99}'):
        (tmp_path / "saved" / "config.json").write_text(content)
        with pytest.raises(PurerError, match="save_pretrained wrote"):
            load(tmp_path / "saved")


@pytest.mark.parametrize("name", ["gone", "runs/gone", "/gone/away", "a/b/c"])
def test_what_cannot_be_a_repository_is_a_folder_that_is_not_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(PurerError, match=f"there is no folder '{name}'"):
        MetaModel.from_pretrained(name)


def test_a_repository_that_cannot_be_had_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PurerError, match=r"no folder 'owner/name', and as a repository .*HF_HUB_OFFLINE"):
        MetaModel.from_pretrained("owner/name")


def test_a_folder_that_cannot_be_made_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PurerError, match=r"Cannot make the folder '.*file'"):
        load(run).save_pretrained(tmp_path / "file")
