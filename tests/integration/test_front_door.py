"""The command line as a user meets it: the bundled configurations, shrunk, through ``main([...])``."""

import csv
import json
from pathlib import Path

import pytest
import torch

from purer_lightning.cli import main
from purer_lightning.cli.configs import bundled_configs

UPDATES = 12
LOGGED = {
    "train/outer_loss",
    "train/accuracy",
    "inversion/total",
    "inversion/class",
    "inversion/feature",
    "inversion/total_variation",
    "inversion/l2",
    "curriculum/step",
    "curriculum/difficulty",
    "curriculum/switch",
    "curriculum/firings",
    "curriculum/patience",
    "val/accuracy",
}


@pytest.fixture(scope="session")
def shrunk(toy_data: Path, toy_pool: Path) -> list[str]:
    """Flags that shrink any fit configuration to the toy pool and seconds."""
    return [
        *("--data.dataset", "toy", "--data.root", str(toy_data), "--data.pool", str(toy_pool)),
        *("--data.way", "3", "--data.query", "3", "--data.episodes_per_update", "2", "--data.updates_per_epoch", "4"),
        *("--data.validation_episodes", "4", "--data.test_episodes", "6", "--trainer.accelerator", "cpu"),
        *("--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", "1"),
    ]


def fit(run: Path, shrunk: list[str], *more: str, config: str = "demo.yaml", updates: int = UPDATES) -> Path:
    warm_up = ("--model.curriculum.warm_up", "4", "--model.curriculum.patience", "2")
    main(["fit", "--config", config, *shrunk, *warm_up, "--trainer.max_steps", str(updates), "--run", str(run), *more])
    return run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, shrunk: list[str]) -> Path:
    """A finished run of the demo's configuration."""
    return fit(tmp_path_factory.mktemp("runs") / "demo", shrunk)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def column(run: Path, key: str) -> list[float]:
    return [float(row[key]) for row in rows(run) if row[key]]


def result(folder: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = json.loads((folder / "results.json").read_text())["results"][-1]
    return found


def test_a_run_leaves_config_metrics_checkpoints_and_picture(run: Path) -> None:
    for name in ("config.yaml", "metrics.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "pseudo_images.png"):
        assert (run / name).stat().st_size > 0, name
    summary = json.loads((run / "summary.json").read_text())
    assert summary["updates"] == UPDATES
    assert 0 < summary["peak_memory_gib"] < 24


def test_the_log_has_every_documented_key(run: Path) -> None:
    assert set(rows(run)[0]) >= LOGGED


def test_one_trainer_step_is_one_meta_update(run: Path) -> None:
    assert column(run, "curriculum/step") == list(range(1, UPDATES + 1))
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == UPDATES


def test_the_switch_fires_at_the_end_of_the_warm_up(run: Path) -> None:
    assert column(run, "curriculum/switch")[:5] == [0, 0, 0, 0, 1]


def test_the_best_checkpoint_is_the_best_on_meta_val(run: Path) -> None:
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    (best,) = [float(value["best_model_score"]) for name, value in state.items() if "val/accuracy" in name]
    assert best == pytest.approx(max(column(run, "val/accuracy")))


def test_ei_and_eci_are_equal_until_the_switch_fires(run: Path, tmp_path: Path, shrunk: list[str]) -> None:
    ei = fit(tmp_path / "ei", shrunk, "--model.curriculum.enabled", "false")
    assert column(ei, "inversion/total")[:5] == column(run, "inversion/total")[:5]
    assert column(ei, "curriculum/difficulty")[:4] == column(run, "curriculum/difficulty")[:4]
    assert column(ei, "curriculum/difficulty")[4:] != column(run, "curriculum/difficulty")[4:]
    assert set(column(ei, "curriculum/switch")) == {0}


def test_the_same_command_computes_the_same_run(run: Path, tmp_path: Path, shrunk: list[str]) -> None:
    assert rows(fit(tmp_path / "again", shrunk)) == rows(run)


@pytest.mark.parametrize("done", [4, 6, 8])
def test_a_run_resumed_at_or_within_an_epoch_ends_with_the_same_bits(
    done: int, run: Path, tmp_path: Path, shrunk: list[str]
) -> None:
    half = fit(tmp_path / "half", shrunk, updates=done)
    fit(half, shrunk, "--ckpt_path", "last")
    states = [torch.load(r / "checkpoints" / "last.ckpt", weights_only=True) for r in (half, run)]
    for part in ("state_dict", "optimizer_states", "curriculum", "global_step", "epoch"):
        torch.testing.assert_close(states[0][part], states[1][part], rtol=0, atol=0)
    synthesis = [state["callbacks"]["SynthesisCallback"] for state in states]
    assert torch.equal(synthesis[0]["images"], synthesis[1]["images"])
    torch.testing.assert_close(synthesis[0]["optimizer"], synthesis[1]["optimizer"], rtol=0, atol=0)
    assert (half / "metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes()
    assert (half / "times.csv").read_text().count("\n") == (run / "times.csv").read_text().count("\n")


def test_a_checkpoint_of_0_1_0_in_which_the_trainer_had_the_images_optimiser_goes_on_with_the_same_bits(
    run: Path, tmp_path: Path, shrunk: list[str]
) -> None:
    old = fit(tmp_path / "old", shrunk, updates=6)
    last = old / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    synthesis = content["callbacks"]["SynthesisCallback"]
    content["optimizer_states"].append(synthesis.pop("optimizer"))
    del synthesis["source"]
    assert set(synthesis) == {"images", "initial_steps_done"}
    torch.save(content, last)
    fit(old, shrunk, "--ckpt_path", "last")
    states = [torch.load(r / "checkpoints" / "last.ckpt", weights_only=True) for r in (old, run)]
    for part in ("state_dict", "optimizer_states", "curriculum", "global_step"):
        torch.testing.assert_close(states[0][part], states[1][part], rtol=0, atol=0)
    kept = [state["callbacks"]["SynthesisCallback"] for state in states]
    assert torch.equal(kept[0]["images"], kept[1]["images"])
    torch.testing.assert_close(kept[0]["optimizer"], kept[1]["optimizer"], rtol=0, atol=0)


@pytest.mark.parametrize(
    "name",
    [name for name, path in bundled_configs().items() if "max_steps" in path.read_text() and name != "demo.yaml"],
)
def test_every_fit_configuration_trains_shrunk(name: str, tmp_path: Path, shrunk: list[str]) -> None:
    of_toy_pool = ["--model.learner.init_args.outputs", "9", "--model.objective.init_args.batch_size", "4"]
    distilled = [*of_toy_pool, "--synthesis.initial_steps", "1"] if name == "cifar_fs_distill.yaml" else []
    run = fit(tmp_path / "run", shrunk, *distilled, config=name, updates=1)
    assert column(run, "curriculum/step") == [1]


def test_start_from_average_and_first_order_are_settings(tmp_path: Path, shrunk: list[str]) -> None:
    settings = ["--model.start_from_average", "true", "--model.learner.init_args.first_order", "true"]
    assert column(fit(tmp_path / "run", shrunk, *settings, updates=2), "curriculum/step") == [1, 2]


def test_initial_inversion_sharpens_before_the_first_update(run: Path, tmp_path: Path, shrunk: list[str]) -> None:
    from_noise = fit(tmp_path / "run", shrunk, "--synthesis.initial_steps", "0", updates=1)
    assert column(run, "inversion/total")[0] < column(from_noise, "inversion/total")[0]


def test_test_scores_the_checkpoint_without_and_with_icfil(run: Path, shrunk: list[str]) -> None:
    main(["test", "--config", "demo.yaml", *shrunk, "--ckpt_path", str(run / "checkpoints" / "best.ckpt")])
    found = result(run / "test")
    assert set(found) == {"episodes", "plain", "icfil", "icfil_minus_plain"}
    assert found["icfil_minus_plain"]["mean"] == pytest.approx(found["icfil"]["mean"] - found["plain"]["mean"])
    with (run / "test" / "episodes.csv").open() as file:
        episodes = list(csv.DictReader(file))
    assert [int(row["episode"]) for row in episodes] == list(range(6))
    assert sum(float(row["plain"]) for row in episodes) / 6 == pytest.approx(found["plain"]["mean"])


def test_results_do_not_depend_on_worker_processes(run: Path, tmp_path: Path, shrunk: list[str]) -> None:
    files = []
    for workers in ("0", "2"):
        folder = tmp_path / workers
        best = str(run / "checkpoints" / "best.ckpt")
        command = ["test", "--config", "demo.yaml", *shrunk, "--ckpt_path", best, "--run", str(folder)]
        main([*command, "--data.num_workers", workers])
        files.append((folder / "test" / "episodes.csv").read_text())
    assert files[0] == files[1]


@pytest.mark.parametrize("mode", ["transductive", "support"])
def test_the_batchnorm_mode_stands_in_the_result(mode: str, run: Path, tmp_path: Path, shrunk: list[str]) -> None:
    flags = ["--model.learner.init_args.batchnorm", mode, "--run", str(tmp_path)]
    main(["validate", "--config", "demo.yaml", *shrunk, *flags, "--ckpt_path", str(run / "checkpoints" / "best.ckpt")])
    found = json.loads((tmp_path / "validate" / "results.json").read_text())
    assert (found["meta_model"]["batchnorm"], found["transductive"]) == (mode, mode == "transductive")
    assert found["split"] == "val"


@pytest.mark.parametrize(
    "name", [name for name in bundled_configs() if name.startswith("baselines/") and "real_" not in name]
)
def test_every_baseline_is_scored_by_the_same_command(
    name: str, tmp_path: Path, shrunk: list[str], toy_pool: Path
) -> None:
    pool = ["--model.learner.init_args.pool", str(toy_pool)]
    main(["test", "--config", "demo.yaml", *shrunk, "--config", name, *pool, "--run", str(tmp_path)])
    assert 0 <= result(tmp_path / "test")["plain"]["mean"] <= 1
    said = json.loads((tmp_path / "test" / "results.json").read_text())
    assert said["meta_model"]["macs_per_query"] > said["meta_model"]["parameters"] > 0
    assert said["transductive"] == (name == "baselines/average.yaml")
