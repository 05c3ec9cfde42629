"""``purer report`` as a user meets it, but for what a browser shows (test_in_a_browser.py)."""

import csv
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from purer_lightning.cli import main


def report(*words: str) -> str:
    """Write a report to ``out.html`` beside the first run and return what it says to readers, without its scripts."""
    output = Path(words[0]).parent / "out.html"
    main(["report", *words, "--output", str(output)])
    return output.read_text(encoding="utf-8")


def shown(page: str) -> str:
    """Return the text that a reader sees, in one line."""
    body = re.sub(r"(?s)<(script|style|svg)\b.*?</\1>", " ", page.partition("<body>")[2])
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["report", *words])
    assert stopped.value.code == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    return sentence


def test_a_report_is_one_file_in_the_run_folder_unless_told_otherwise(run: Path) -> None:
    before = set(run.iterdir())
    main(["report", str(run)])
    assert set(run.iterdir()) - before == {run / "report.html"}


def test_it_says_what_was_run_and_on_what(run: Path) -> None:
    (run / "commit.txt").write_text("abc1234\n")
    said = shown(report(str(run)))
    for fact in ("ECI + MAML", "toy, 3-way 1-shot", "3 teachers (conv4)", "12 updates in", "abc1234", "torch 2."):
        assert fact in said, fact


def test_every_result_of_the_folder_stands_in_its_table_with_its_interval(run: Path) -> None:
    said = shown(report(str(run)))
    for folder, method in (("test", "plain"), ("test", "icfil"), ("random_start/test", "plain")):
        found = json.loads((run / folder / "results.json").read_text())["results"][-1][method]
        assert f"{100 * found['mean']:.2f} ± {100 * found['ci95']:.2f}" in said


def test_the_difference_to_a_baseline_is_paired(run: Path) -> None:
    def column(folder: str, method: str) -> list[float]:
        with (run / folder / "episodes.csv").open() as file:
            return [float(row[method]) for row in csv.DictReader(file)]

    differences = [
        baseline - own
        for own, baseline in zip(column("test", "icfil"), column("random_start/test", "plain"), strict=True)
    ]
    mean = sum(differences) / len(differences)
    assert f"{100 * mean:+.2f} ±".replace("-", "\N{MINUS SIGN}") in shown(report(str(run)))


def test_the_verdict_names_the_best_its_episodes_and_the_best_baseline(run: Path) -> None:
    def score(folder: str, accuracies: list[float]) -> None:
        lines = [f"{episode},{accuracy}" for episode, accuracy in enumerate(accuracies)]
        (run / folder / "episodes.csv").write_text("\n".join(["episode,plain", *lines]) + "\n")

    score("test", [0.5, 0.7, 0.6])
    score("random_start/test", [0.3, 0.5, 0.4, 0.9])
    said = shown(report(str(run)))
    assert "On 3 tasks of 3 unseen classes of toy with 1 picture a class, eci gets 60.0 ± 11.3 %" in said
    assert "The baseline, random_start, gets 52.5 ± 25.8 % : eci is above it by 20.0 ± 0.0 points" in said
    score("random_start/test", [0.6, 0.6, 0.6])
    assert "eci is not told apart from it (a difference of 0.0 ± 11.3 points" in shown(report(str(run)))
    score("random_start/test", [0.9, 0.9, 0.9])
    assert "eci is below it by 30.0 ± 11.3 points" in shown(report(str(run)))


def test_nothing_from_a_file_can_become_markup(run: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("dataset: toy", "dataset: \"toy</script><img src=x onerror='1'>\""))
    for results in run.glob("*/results.json"):
        results.write_text(results.read_text().replace('"Maml"', '"<b>Maml</b>"'))
    bad = run.rename(run.with_name("<i>eci&"))
    page = report(str(bad))
    body = page.partition("<body>")[2]
    assert "<img src=x" not in body
    assert "<b>Maml" not in body
    assert "<i>eci" not in body
    assert "&lt;i&gt;eci&amp;" in body


def test_the_markup_is_well_formed_and_identities_are_unique(run: Path) -> None:
    page = report(str(run))
    checker = Nesting()
    checker.feed(page)
    assert checker.wrong == []
    assert checker.open == []
    identities = re.findall(r' id="([^"]+)"', page.partition("<body>")[2].partition("plotly.js")[0])
    assert len(identities) == len(set(identities)) > 5


class Nesting(HTMLParser):
    """Sees whether each element ends where it has to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag not in ("meta", "link", "input", "img", "wbr", "line", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open and self.open.pop() != tag:
            self.wrong.append(tag)


def test_the_results_of_one_run_are_not_taken_for_those_of_another(run: Path, finished_run: Path) -> None:
    other = run.with_name("other")
    (other / "test").mkdir(parents=True)
    for name in ("results.json", "episodes.csv"):
        (other / "test" / name).write_text((finished_run / "test" / name).read_text())
    said = shown(report(str(run)))
    assert "other" not in said


def test_a_folder_beside_the_run_that_was_scored_with_its_checkpoint_is_its_result(
    run: Path, finished_run: Path
) -> None:
    run.with_name("scored").mkdir()
    beside = (run / "test").rename(run.with_name("scored") / "test")
    file = beside / "results.json"
    file.write_text(file.read_text().replace(str(finished_run), str(run)))
    page = report(str(run))
    assert "scored + ICFIL" in shown(page)
    assert "Histogram" in page


@pytest.mark.parametrize("content", ["{", "[1]", '{"passed": 3}'])
def test_what_is_no_result_of_ours_beside_a_run_is_left_alone(content: str, run: Path) -> None:
    (run.with_name("somebody's") / "test").mkdir(parents=True)
    (run.with_name("somebody's") / "test" / "results.json").write_text(content)
    assert "somebody" not in shown(report(str(run)))


def test_a_summary_that_says_less_is_read_as_far_as_it_goes(run: Path) -> None:
    (run / "summary.json").write_text('{"minutes": 90}')
    assert "12 updates in 90 min" in shown(report(str(run)))


def test_without_a_test_the_report_names_the_command(run: Path) -> None:
    for file in run.glob("**/results.json"):
        file.unlink()
    assert "purer test --ckpt_path" in shown(report(str(run)))


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_run_that_is_still_writing_is_shown_as_far_as_it_has_come(run: Path, cut: int) -> None:
    (run / "summary.json").unlink()
    metrics = run / "metrics.csv"
    metrics.write_bytes(metrics.read_bytes()[:-cut])
    said = shown(report(str(run)))
    assert "of 12 updates" in said
    assert "still running" in said


def test_several_runs_are_laid_over_one_another_and_can_be_hidden(run: Path, finished_run: Path) -> None:
    second = run.rename(run.with_name("ei"))
    page = report(str(second), str(finished_run))
    figure = json.loads(re.search(r'(?s)id="curriculum">(.*?)</script>', page)[1])  # type: ignore[index]
    assert {trace["meta"]["run"] for trace in figure["data"]} == {0, 1}
    assert page.count("data-run=") == 2
    assert "2 runs on toy" in shown(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_lines_stand_out_from_the_ground(scheme: str) -> None:
    style = (files("purer_lightning.report") / "template" / "page.css").read_text()
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    colours = dict(re.findall(r"(--[\w-]+): (#\w{6});", light if scheme == "light" else dark))
    for name in ("--ink", "--muted", "--accent", *(f"--run-{number}" for number in range(8))):
        assert contrast(colours[name], colours["--paper"]) >= 4.5, name


def contrast(one: str, other: str) -> float:
    """Return WCAG 2's contrast ratio of two colours written as #rrggbb."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_a_folder_that_is_no_run_is_named_with_the_runs_in_it(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "It has runs in it: eci." in complaint(capsys, str(run.parent))
    assert f"none at '{tmp_path / 'runs' / 'ecii'}'. Did you mean 'eci'?" in complaint(capsys, str(run) + "i")


def test_a_configuration_of_something_else_is_no_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "config.yaml").write_text("a: [")
    assert "not the configuration of a run" in complaint(capsys, str(run))


def test_a_run_without_curves_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "metrics.csv").unlink()
    assert "found none" in complaint(capsys, str(run))


def test_a_damaged_line_in_the_midst_is_told_with_its_number(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (run / "metrics.csv").read_text().splitlines(keepends=True)
    lines[3] = "torn" + lines[3]
    (run / "metrics.csv").write_text("".join(lines))
    assert "line 4" in complaint(capsys, str(run))


@pytest.mark.parametrize("name", ["test/results.json", "test/episodes.csv", "summary.json"])
def test_a_damaged_file_is_named(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / name).write_text("{")
    assert name in complaint(capsys, str(run))


def test_runs_of_different_data_sets_are_refused(
    run: Path, finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("dataset: toy", "dataset: cifar_fs"))
    sentence = complaint(capsys, str(run), str(finished_run))
    assert "'cifar_fs'" in sentence
    assert "'toy'" in sentence


@pytest.mark.parametrize("output", ["no/such/folder/r.html", "."])
def test_an_output_that_cannot_be_written_leaves_nothing(
    output: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(run.parent.rglob("*"))
    assert "--output" in complaint(capsys, str(run), "--output", str(run / output))
    assert sorted(run.parent.rglob("*")) == before


def test_pictures_can_be_left_out(run: Path) -> None:
    assert "data:image/" in report(str(run))
    without = report(str(run), "--pictures", "false")
    assert "data:image/" not in without.partition("<body>")[2].partition("plotly.js")[0]
    assert "Histogram" in without


def test_a_misspelt_flag_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(run), "--outptu", "x.html"])
    assert stopped.value.code == 2
    assert "Did you mean 'output'?" in capsys.readouterr().err


def test_a_run_named_twice_is_shown_once(run: Path) -> None:
    assert "data-run=" not in report(str(run), f"{run}/")


def test_flags_may_stand_before_the_runs(run: Path) -> None:
    output = run / "first.html"
    main(["report", "--output", str(output), str(run)])
    main(["report", f"--output={output}", str(run)])
    assert output.is_file()
