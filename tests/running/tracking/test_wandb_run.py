"""W&B, read back from the files that real offline runs of the bundled configuration leave on disk. No network."""

import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from purer_lightning.callbacks.gallery import is_moment
from purer_lightning.cli import main
from purer_lightning.pool.manifest import read_manifest
from purer_lightning.running.tracking import WandbRun, WandbSettings
from tracking import wandb_file
from tracking.conftest import WHOLE, Tracked

CURVES = (
    "curriculum/difficulty",
    "curriculum/switch",
    "curriculum/firings",
    "train/outer_loss",
    "train/accuracy",
    "inversion/class",
    "inversion/feature",
    "inversion/total_variation",
    "inversion/l2",
)


def curve(files: list[Path], key: str) -> dict[int, float]:
    """Return a curve's values by meta-update, which stands beside each of its points."""
    points = [point for file in files for point in wandb_file.history(file) if key in point]
    assert len({point["curriculum/step"] for point in points}) == len(points), "a point is drawn twice"
    return {point["curriculum/step"]: point[key] for point in points}


def logged_to_csv(folder: Path, key: str) -> list[float]:
    files = [*sorted(folder.glob("metrics.*.csv")), folder / "metrics.csv"]
    rows = [row for file in files for row in csv.DictReader(file.open())]
    return [float(row[key]) for row in rows if row.get(key)]


def test_every_start_of_a_training_and_its_test_are_one_run(tracked: Tracked) -> None:
    assert len(tracked.starts) == 3
    identity = json.loads((tracked.folder / "wandb.json").read_text())
    assert {wandb_file.run_id(file) for file in tracked.starts} == {identity["id"]}
    assert identity["project"] == "purer"


@pytest.mark.parametrize("key", CURVES)
def test_curves_over_the_meta_update_go_on_where_the_first_start_stopped(key: str, tracked: Tracked) -> None:
    found = curve(tracked.starts, key)
    assert list(found) == list(range(1, WHOLE + 1))
    assert list(found.values()) == pytest.approx(logged_to_csv(tracked.folder, key))


def test_validation_stands_at_the_meta_update_that_it_followed(tracked: Tracked) -> None:
    found = curve(tracked.starts, "val/accuracy")
    assert list(found) == list(range(2, WHOLE + 1, 2))
    assert list(found.values()) == pytest.approx(logged_to_csv(tracked.folder, "val/accuracy"))


def test_the_meta_update_is_the_axis_of_every_curve(tracked: Tracked) -> None:
    axes = wandb_file.axes(tracked.starts[0])
    assert set(axes.values()) == {"curriculum/step"}
    assert set(axes) >= {f"{key.partition('/')[0]}/*" for key in (*CURVES, "val/accuracy")}


def test_each_firing_of_the_switch_is_a_point(tracked: Tracked) -> None:
    fired = [update for update, on in curve(tracked.starts, "curriculum/switch").items() if on]
    assert fired[0] == 5
    assert curve(tracked.starts, "curriculum/firings")[WHOLE] >= len(fired) >= 2


def test_galleries_say_class_teacher_and_update(tracked: Tracked, toy_pool: Path) -> None:
    points = [p for file in tracked.starts for p in wandb_file.history(file) if "pseudo_images/captions" in p]
    updates = [point["curriculum/step"] for point in points]
    assert updates == [0, 2, 4, 6, 8, 12]
    for update, point in zip(updates, points, strict=True):
        assert all(caption.endswith(f", after {update} updates") for caption in point["pseudo_images/captions"])
    for teacher in read_manifest(toy_pool).teachers:
        for name in teacher.class_names:
            (caption,) = [c for c in points[0]["pseudo_images/captions"] if c.startswith(f"{name} (")]
            assert teacher.name in caption
    pictures = tracked.starts[0].parent / "files"
    assert all((pictures / name).is_file() for name in points[0]["pseudo_images/filenames"])


def test_the_pool_is_a_table_a_row_a_teacher(tracked: Tracked, toy_pool: Path) -> None:
    (file,) = (tracked.starts[0].parent / "files" / "media" / "table").glob("pool*.json")
    table: dict[str, Any] = json.loads(file.read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    teachers = read_manifest(toy_pool).teachers
    assert [row["teacher"] for row in rows] == [teacher.name for teacher in teachers]
    assert [row["held-out accuracy"] for row in rows] == [teacher.held_out_accuracy for teacher in teachers]


def test_the_resolved_settings_are_the_runs(tracked: Tracked) -> None:
    found = wandb_file.config(tracked.starts[0])
    assert found["model"]["curriculum"]["warm_up"] == 4  # a flag
    assert found["model"]["meta_lr"] == 0.003  # of the file
    assert found["data"]["test_split"] == "test"  # of a signature
    assert wandb_file.config(tracked.starts[1])["trainer"]["max_steps"] == WHOLE


def test_test_results_stand_in_the_summary(tracked: Tracked) -> None:
    found = wandb_file.summary(tracked.starts[2])
    result = json.loads((tracked.folder / "test" / "results.json").read_text())["results"][-1]
    assert found["test/accuracy"] == pytest.approx(result["plain"]["mean"])
    assert found["test/icfil_ci95"] == pytest.approx(result["icfil"]["ci95"])
    assert wandb_file.history(tracked.starts[2]) == []


def test_the_line_that_sends_the_run_names_every_start_of_it(tracked: Tracked) -> None:
    command = tracked.said.splitlines()[-1].rpartition("do: ")[2]
    pattern = " ".join(shlex.split(command)[3:])
    assert command.startswith("wandb sync --yes '")
    assert sorted(Path("/").glob(pattern.lstrip("/"))) == [file.parent for file in tracked.starts]


def test_a_run_that_does_not_ask_for_it_knows_nothing_of_wandb_nor_of_other_services(
    tmp_path: Path, flags: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    main(["fit", "--config", "demo.yaml", *flags, "--trainer.max_steps", "1", "--run", str(tmp_path / "run")])
    assert not list(tmp_path.rglob("*wandb*"))
    assert "GPU available" in caplog.text
    assert "litlogger" not in caplog.text
    assert "Tip:" not in caplog.text
    assert (tmp_path / "run" / "metrics.csv").is_file()


def test_metrics_csv_is_written_beside_loggers_of_the_users_own(tmp_path: Path, flags: list[str]) -> None:
    own = [
        "--trainer.logger",
        "lightning.pytorch.loggers.CSVLogger",
        "--trainer.logger.save_dir",
        str(tmp_path / "own"),
    ]
    run = tmp_path / "run"
    main(["fit", "--config", "demo.yaml", *flags, *own, "--trainer.max_steps", "1", "--run", str(run)])
    assert (run / "metrics.csv").is_file()
    assert list((tmp_path / "own").rglob("metrics.csv"))


def test_two_starts_within_a_second_are_both_kept(tmp_path: Path) -> None:
    for _ in range(2):
        run = WandbRun(tmp_path, WandbSettings(), "offline", "test", {})
        run.log_metrics({"test/accuracy": 0.5})
        run.finalize("success")
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2


def test_a_validation_by_itself_does_not_take_the_place_of_the_trainings(tmp_path: Path) -> None:
    run = WandbRun(tmp_path, WandbSettings(), "offline", "validate", {})
    run.log_metrics({"val/accuracy": 0.25, "epoch": 0})
    run.finalize("success")
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    found = {name: value for name, value in wandb_file.summary(file).items() if not name.startswith("_")}
    assert found == {"validate/accuracy": 0.25}


def test_galleries_become_rare() -> None:
    assert [validation for validation in range(1, 40) if is_moment(validation)] == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
    assert sum(map(is_moment, range(1, 301))) == 16


def test_pictures_are_left_out_where_the_user_says_so(tmp_path: Path, flags: list[str]) -> None:
    shown = ["--wandb.enabled", "true", "--wandb.pictures", "false", "--trainer.max_steps", "1"]
    main(["fit", "--config", "demo.yaml", *flags, *shown, "--run", str(tmp_path)])
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert "curriculum/difficulty" in wandb_file.summary(file)
    assert not [name for name in wandb_file.summary(file) if name.startswith("pseudo_images")]
    assert not list(file.parent.rglob("*.png"))


def test_two_ranks_are_one_run_that_the_first_logs(tmp_path: Path, flags: list[str]) -> None:
    command = [str(Path(sys.executable).with_name("purer")), "fit", "--config", "demo.yaml", *flags]
    ranks = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_steps", "2"]
    subprocess.run(
        [*command, *ranks, "--wandb.enabled", "true", "--run", str(tmp_path)], check=True, capture_output=True
    )
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert list(curve([file], "curriculum/difficulty")) == [1, 2]
