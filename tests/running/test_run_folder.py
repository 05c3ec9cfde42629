"""Where a command writes."""

import tempfile
from pathlib import Path

import pytest
import yaml
from jsonargparse import Namespace

from purer_lightning.errors import PurerError
from purer_lightning.running.run_folder import output_folder, remove_unbegun, run_folder, still_to_make

MACHINES = Path(__file__).resolve().parents[2] / "experiments" / "machine"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "runs/default"),
        ({"config": ["configs/demo.yaml", "experiments/mine.yaml"]}, "runs/mine"),
        ({"config": ["cifar_fs.yaml", "experiments/machine/4gpu.yaml"]}, "runs/cifar_fs"),
        ({"ckpt_path": "runs/a/checkpoints/last.ckpt"}, "runs/a"),
        ({"ckpt_path": "last", "config": ["demo.yaml"]}, "runs/demo"),
        ({"ckpt_path": "runs/a/checkpoints/last.ckpt", "run": "runs/b"}, "runs/b"),
    ],
)
def test_a_run_is_named_by_its_flag_its_checkpoint_or_its_configuration(
    settings: dict[str, object], expected: str
) -> None:
    config = Namespace({"run": None} | settings)  # type: ignore[no-untyped-call]
    assert run_folder(config) == Path(expected)


@pytest.mark.parametrize("name", ["1gpu", "4gpu"])
def test_a_machines_configuration_says_nothing_of_the_run(name: str) -> None:
    said = yaml.safe_load((MACHINES / f"{name}.yaml").read_text())
    assert list(said) == ["trainer"]
    assert said["trainer"].keys() <= {"accelerator", "devices", "num_nodes", "strategy"}
    assert said["trainer"]["devices"] == int(name[0])


def test_of_a_command_that_could_not_begin_only_what_it_made_is_removed(tmp_path: Path) -> None:
    for there, kept in (("", []), ("runs", []), ("runs/a/test", ["config.yaml"]), ("", ["metrics.csv"])):
        home = Path(tempfile.mkdtemp(dir=tmp_path))
        (home / there).mkdir(parents=True, exist_ok=True)
        folder = home / "runs" / "a" / "test"
        made = still_to_make(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("config.yaml", *kept):
            (folder / name).touch()
        remove_unbegun(made)
        assert (home / there).is_dir()
        assert folder.exists() == bool(kept)
        assert (home / "runs").exists() == bool(there or kept)
        assert all((folder / name).exists() for name in kept)


def test_another_programs_checkpoint_for_slurm_is_named(tmp_path: Path) -> None:
    (tmp_path / "hpc_ckpt_1.ckpt").touch()
    with pytest.raises(PurerError, match=r"hpc_ckpt_1.ckpt' is no checkpoint of purer fit"):
        output_folder(tmp_path, "fit", goes_on=True)
    assert output_folder(tmp_path, "test", goes_on=True) == tmp_path / "test"
