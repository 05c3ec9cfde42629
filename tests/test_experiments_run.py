"""The runner of experiments/: what it calls, keeps and skips, and that a row can be made again from its YAML alone."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from threading import Event

import pytest
from lightning.pytorch.cli import LightningArgumentParser

from fake_purer import calls, make_parser, make_runner
from purer_lightning.cli import main
from purer_lightning.cli.configs import resolve_configs
from purer_lightning.errors import PurerError
from rows import EPISODES, ROWS, SHOTS, Group, Row, fit_a_shot, one_fit
from run import Job, Runner, chosen_rows, code_state, run_all

STUDENT = one_fit("student", "a student", ["demo.yaml"])
TOY = (
    Row("free", "nothing trained", Group.ONE_NETWORK),
    Row("each", "a fit a shot", Group.PURER, fits=fit_a_shot("each", "a fit a shot", flags=("--a", "b"))),
    Row("head", "one fit", Group.OURS, fits=STUDENT),
    Row("other_head", "the same fit", Group.OURS, configs=("head.yaml",), fits=STUDENT),
)


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return make_runner(tmp_path)


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> LightningArgumentParser:
    return make_parser(monkeypatch)


def test_each_fit_is_made_once_before_its_tests_and_its_files_are_kept(runner: Runner) -> None:
    run_all(runner.jobs(TOY))
    made = calls(runner)
    runs = [call[call.index("--run") + 1] for call in made]
    results = runner.root / "experiments" / "results"
    fits = sorted(run for run in runs if run.startswith("runs/"))
    assert fits == ["runs/each_1shot", "runs/each_5shot", "runs/student"]
    for name, fit in (("each_5shot", "each_5shot"), ("head_1shot", "student"), ("other_head_5shot", "student")):
        assert runs.index(f"experiments/results/{name}") > runs.index(f"runs/{fit}")
    (call,) = [call for call in made if "experiments/results/other_head_5shot" in call]
    assert shlex.join(call[:7]) == "test --config demo.yaml --config head.yaml --data.shot 5"
    assert call[7:9] == ["--ckpt_path", "runs/student/checkpoints/best.ckpt"]
    kept = {file.name for file in (results / "student").iterdir()}
    assert kept == {
        *("summary.json", "times.csv", "metrics.csv"),
        *("fit_config.yaml", "fit_commit.txt"),
    }
    assert (results / "head_1shot" / "commit.txt").read_text() == "unknown\n"


def test_what_is_done_is_not_done_again(runner: Runner) -> None:
    run_all(runner.jobs(TOY))
    assert runner.jobs(TOY) == []
    (runner.root / "experiments/results/head_1shot/test/results.json").unlink()
    calls(runner)
    run_all(runner.jobs(TOY))
    assert [call[0] for call in calls(runner)] == ["test"]


def test_an_interrupted_fit_goes_on_from_its_last_checkpoint_and_notes_both_commits(runner: Runner) -> None:
    last = runner.root / "runs/student/checkpoints/last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    (runner.root / "runs/student/commit.txt").write_text("earlier\n")
    runner.fit(STUDENT[1])
    assert calls(runner)[0][-2:] == ["--ckpt_path", "last"]
    kept = runner.root / "experiments/results/student/fit_commit.txt"
    assert kept.read_text() == "earlier\nunknown\n"


def test_a_failed_command_is_told_with_its_words_and_made_again_when_it_is_mended(runner: Runner) -> None:
    (runner.root / "failing").write_text("--run runs/each_1shot")
    with pytest.raises(PurerError, match=r"fit each_1shot: 'purer fit .* failed, its reason stands above"):
        run_all(runner.jobs(TOY[1:2]))
    assert not (runner.root / "experiments/results/each_1shot/test").exists()
    (runner.root / "failing").unlink()
    run_all(runner.jobs(TOY[1:2]))
    assert runner.jobs(TOY[1:2]) == []


def test_after_a_failure_nothing_is_begun_and_what_runs_is_waited_for() -> None:
    began, failed, done = Event(), Event(), list[str]()

    def fail() -> None:
        began.wait()
        failed.set()
        raise PurerError("no")

    def work() -> None:
        began.set()
        failed.wait()
        time.sleep(0.1)  # the failure is seen before this job ends
        done.append("beside")

    with pytest.raises(PurerError, match="first: no"):
        run_all([Job("first", fail), Job("beside", work), Job("last", lambda: done.append("last"))], at_a_time=2)
    assert done == ["beside"]


def test_all_failures_are_told() -> None:
    def fail() -> None:
        raise PurerError("no")

    with pytest.raises(PurerError, match=r"a: no\nb: no"):
        run_all([Job("a", fail), Job("b", fail)], at_a_time=2)


def test_an_unknown_row_is_answered_with_the_nearest() -> None:
    assert [row.name for row in chosen_rows(["eci", "random"])] == ["random", "eci"]
    with pytest.raises(PurerError, match="Did you mean 'teacher_centroid'"):
        chosen_rows(["teacher_centroids"])


def test_names_of_rows_and_fits_are_unique() -> None:
    fits = {fit for row in ROWS for fit in row.fits.values()}
    folders = [row.folder(shot) for row in ROWS for shot in SHOTS]
    assert len(folders) == len(set(folders))
    assert len(fits) == len({fit.name for fit in fits})
    # Their files lie side by side where a row has the name of its fit.
    assert all(fit.name not in folders or row.folder(fit.shot) == fit.name for row in ROWS for fit in row.fits.values())


def test_every_row_names_configurations_and_flags_that_are_read_and_the_same_episodes(
    parser: LightningArgumentParser,
) -> None:
    episodes = {"dataset": "cifar_fs", "way": 5, "query": 15, "test_split": "test", "test_episodes": EPISODES}
    for row in ROWS:
        for shot in SHOTS:
            read = parser.parse_args(resolve_configs(["test", *row.words(shot)])).test
            assert {name: read.data[name] for name in episodes} == episodes, row.name
            assert (read.seed_everything, read.data.shot) == (0, shot), row.name
    for fit in {fit for row in ROWS for fit in row.fits.values()}:
        read = parser.parse_args(resolve_configs(["fit", *fit.words()])).fit
        assert (read.seed_everything, read.data.shot, read.data.dataset) == (0, fit.shot, "cifar_fs"), fit.name
        assert read.checkpoint.monitor == "val/accuracy"


def test_results_and_pages_that_differ_do_not_make_the_code_another(tmp_path: Path) -> None:
    # As though nothing were set up, and within no hook of another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*words: str) -> None:
        author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *author, *words], cwd=tmp_path, env=environment, check=True, capture_output=True)

    (tmp_path / "experiments").mkdir()
    code, page = tmp_path / "experiments" / "a.py", tmp_path / "experiments" / "a.md"
    for file in (code, page):
        file.write_text("a")
    git("init")
    git("add", ".")
    git("commit", "-m", "a")
    commit = code_state(tmp_path)
    assert len(commit) >= 7
    page.write_text("b")
    assert code_state(tmp_path) == commit
    code.write_text("b")
    assert code_state(tmp_path) == f"{commit}-dirty"


def test_a_row_is_made_again_to_the_bit_from_its_yaml_alone(tmp_path: Path, toy_data: Path, toy_pool: Path) -> None:
    flags = [
        *("--data.dataset", "toy", "--data.root", str(toy_data), "--data.pool", str(toy_pool), "--data.way", "3"),
        *("--data.query", "3", "--data.episodes_per_update", "2", "--data.updates_per_epoch", "1"),
        *("--data.validation_episodes", "4", "--data.test_episodes", "6", "--trainer.max_steps", "2"),
        *("--synthesis.initial_steps", "0", "--trainer.accelerator", "cpu"),
    ]
    row = Row("toy", "toy", Group.PURER, fits=fit_a_shot("toy", "toy", {1: ["demo.yaml"], 5: []}, flags))
    run_all(Runner(tmp_path, str(Path(sys.executable).with_name("purer"))).jobs([row], shots=[1]))
    made, again = tmp_path / "experiments" / "results" / "toy_1shot", tmp_path / "again"
    assert len((made / "times.csv").read_text().splitlines()) == 3

    main(["fit", "--config", str(made / "fit_config.yaml"), "--ckpt_path", "null", "--run", str(again)])
    best = str(again / "checkpoints" / "best.ckpt")
    main(["test", "--config", str(made / "test" / "config.yaml"), "--ckpt_path", best, "--run", str(again)])
    for name in ("metrics.csv", "test/episodes.csv"):
        assert (again / name).read_text() == (made / name).read_text(), name
