"""The sweeps of experiments/: that their flags are read, and what is measured, kept and written."""

from pathlib import Path

import pytest
from lightning.pytorch.cli import LightningArgumentParser

from fake_purer import calls, make_parser, make_runner
from purer_lightning.cli.configs import resolve_configs
from purer_lightning.errors import PurerError
from run import Runner
from sweep_distillation import DISTILLATION
from sweep_purer import PURER
from sweeping import EPISODES, Sweep, run_sweep, scoring_words

SETTINGS = {"centre": {}, "seed": {"--seed_everything": "1"}}
TOY = Sweep("toy", "A toy", "nothing", "demo.yaml", {"--a": "b c"}, SETTINGS, shots=(5, 1), scoring=("--c", "d"))


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    (tmp_path / "experiments").mkdir()
    return make_runner(tmp_path)


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> LightningArgumentParser:
    return make_parser(monkeypatch)


@pytest.mark.parametrize("sweep", [DISTILLATION, PURER], ids=lambda sweep: str(sweep.name))
def test_every_setting_is_read_keeps_its_last_weights_and_is_scored_on_the_same_episodes(
    sweep: Sweep, parser: LightningArgumentParser
) -> None:
    for name in sweep.settings:
        fit = sweep.fit(name)
        read = parser.parse_args(resolve_configs(["fit", *fit.words()])).fit
        assert read.trainer.max_steps % read.data.updates_per_epoch == 0, name
        for shot in sweep.shots:
            read = parser.parse_args(resolve_configs(["validate", *scoring_words(sweep, fit, shot)])).validate
            scored = (read.seed_everything, read.data.shot, read.data.validation_episodes)
            assert scored == (0, shot, EPISODES), name


def test_each_setting_is_measured_once_and_its_line_follows_the_declaration(runner: Runner) -> None:
    run_sweep(TOY, ["seed"], runner)
    (fit, *scored) = calls(runner)
    assert fit[:8] == ["fit", "--config", "demo.yaml", "--a", "b", "c", "--seed_everything", "1"]
    assert all({"--c", "d", "runs/toy_sweep_seed/checkpoints/last.ckpt"} < set(call) for call in scored)
    run_sweep(TOY, [], runner)
    folders = [call[call.index("--run") + 1] for call in calls(runner)]
    assert folders == ["runs/toy_sweep_centre", "runs/toy_sweep_centre/5shot", "runs/toy_sweep_centre/1shot"]
    page = (runner.root / "experiments/toy_sweep.md").read_text()
    assert "`purer fit --config demo.yaml --a 'b c'`" in page
    assert [line for line in page.splitlines() if "3.2" in line] == [
        "| centre | - | 50.00 ± 1.00 | 50.00 ± 1.00 | 3.2 | unknown |",
        "| seed | seed_everything=1 | 50.00 ± 1.00 | 50.00 ± 1.00 | 3.2 | unknown |",
    ]


def test_a_sweep_that_was_stopped_between_two_shots_goes_on_with_the_second(runner: Runner) -> None:
    (runner.root / "failing").write_text("/1shot")
    with pytest.raises(PurerError, match="failed, its reason stands above"):
        run_sweep(TOY, ["centre"], runner)
    assert not (runner.root / "experiments/toy_sweep.json").exists()
    (runner.root / "failing").unlink()
    calls(runner)
    run_sweep(TOY, ["centre"], runner)
    assert [call[call.index("--run") + 1] for call in calls(runner)] == ["runs/toy_sweep_centre/1shot"]


def test_an_unknown_setting_is_answered_with_the_nearest_before_anything_is_measured(runner: Runner) -> None:
    with pytest.raises(PurerError, match=r"There is no setting 'sed', only centre, seed\. Did you mean 'seed'"):
        run_sweep(TOY, ["centre", "sed"], runner)
    assert calls(runner) == []
