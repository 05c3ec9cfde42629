"""W&B, read back from the files that real offline runs of the bundled configuration leave on disk. No network."""

import csv
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import wandb

import wandb_file
from purer_lightning.callbacks.gallery import is_moment
from purer_lightning.cli import main
from purer_lightning.errors import PurerError
from purer_lightning.pool.manifest import read_manifest
from purer_lightning.tracking import WandbRun, WandbSettings, settled_identity, settled_mode

HALF, WHOLE = 6, 12
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
KEY = "k" * 40  # of the length that W&B demands; nobody's


class Tracked(NamedTuple):
    """A training that was stopped halfway and gone on with, then tested: a run folder and its starts in W&B."""

    folder: Path
    starts: list[Path]
    said: str


@pytest.fixture
def fresh() -> Iterator[None]:
    """W&B reads its settings once a process; let it read them again."""
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture(scope="module")
def flags(toy_data: Path, toy_pool: Path) -> list[str]:
    where = ["--data.dataset", "toy", "--data.root", str(toy_data), "--data.pool", str(toy_pool)]
    small = ["--data.way", "3", "--data.query", "3", "--data.episodes_per_update", "2", "--data.updates_per_epoch", "2"]
    episodes = ["--data.validation_episodes", "2", "--data.test_episodes", "4", "--synthesis.initial_steps", "2"]
    switch = ["--model.curriculum.warm_up", "4", "--model.curriculum.patience", "2"]
    quiet = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    return [*where, *small, *episodes, *switch, *quiet]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory, flags: list[str]) -> Tracked:
    folder = tmp_path_factory.mktemp("runs") / "a run"
    shown = ["--wandb.enabled", "true", "--wandb.tags", "[toy]"]
    fit = ["fit", "--config", "demo.yaml", *flags, *shown, "--run", str(folder)]
    last = ["--ckpt_path", str(folder / "checkpoints" / "last.ckpt")]
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("purer_lightning.tracking.rank_zero_info", lines.append)
        main([*fit, "--trainer.max_steps", str(HALF)])
        main([*fit, "--trainer.max_steps", str(WHOLE), *last])
        main(["test", "--config", "demo.yaml", *flags, *shown, *last])
    return Tracked(folder, sorted(folder.glob("wandb/offline-run-*/*.wandb")), "\n".join(lines))


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


def test_a_run_that_does_not_ask_for_it_knows_nothing_of_wandb(tmp_path: Path, flags: list[str]) -> None:
    main(["fit", "--config", "demo.yaml", *flags, "--trainer.max_steps", "1", "--run", str(tmp_path / "run")])
    assert not list(tmp_path.rglob("*wandb*"))
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


@pytest.mark.usefixtures("fresh")
def test_a_login_decides_without_asking_a_server(monkeypatch: pytest.MonkeyPatch, without_login: Path) -> None:
    monkeypatch.delenv("WANDB_MODE")
    assert settled_mode("auto") == "offline"
    with pytest.raises(PurerError, match="wandb login"):
        settled_mode("online")
    wandb.teardown()
    (without_login / "netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    try:
        assert settled_mode("auto") == settled_mode("online") == "online"
        assert settled_mode("offline") == "offline"
    finally:
        (without_login / "netrc").unlink()


@pytest.mark.usefixtures("fresh")
def test_the_environments_mode_wins_over_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert settled_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    wandb.teardown()
    assert settled_mode("auto") is None


@pytest.mark.usefixtures("fresh")
def test_a_damaged_login_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with pytest.raises(PurerError, match="WANDB_API_KEY invalid"):
        settled_mode("auto")


def test_two_starts_within_a_second_are_both_kept(tmp_path: Path) -> None:
    for _ in range(2):
        run = WandbRun(tmp_path, WandbSettings(), "offline", "test", {})
        run.log_metrics({"test/accuracy": 0.5})
        run.finalize("success")
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2


def test_a_folders_run_stays_in_its_project(tracked: Tracked) -> None:
    assert settled_identity(tracked.folder, WandbSettings(project="purer")).project == "purer"
    with pytest.raises(PurerError, match=r"is in the W&B project 'purer', but wandb\.project is 'other'"):
        settled_identity(tracked.folder, WandbSettings(project="other"))


def test_a_damaged_identity_is_named(tmp_path: Path) -> None:
    (tmp_path / "wandb.json").write_text('{"id": ')
    with pytest.raises(PurerError, match=r"wandb\.json' is damaged"):
        settled_identity(tmp_path, WandbSettings())


def test_galleries_become_rare() -> None:
    assert [validation for validation in range(1, 40) if is_moment(validation)] == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
    assert sum(map(is_moment, range(1, 301))) == 16
