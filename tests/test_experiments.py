"""The tables and the picture of experiments/: their arithmetic, what they refuse, and what they say."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

import curves
import scored
import seeds
import table
from rows import REPEATS, ROWS, Fit, Group

BY_NAME = {row.name: row for row in ROWS}
SUMMARY: dict[str, Any] = {"updates": 1234, "minutes": 9.6, "peak_memory_gib": 0.7, "cores": 2, "threads": 1}
SUMMARY |= {"machine": "riscv", "torch": "9.9"}
FIT = Fit("eci_1shot", "ECI", 1, ())


def write_row(results: Path, name: str, plain: list[float], shot: int = 1, **changed: Any) -> Path:
    """Write what a test leaves behind, with these accuracies by episode; ``icfil`` for those with calibration."""
    folder = results / f"{name}_{shot}shot"
    (folder / "test").mkdir(parents=True)
    methods = {"plain": plain} | ({"icfil": changed.pop("icfil")} if "icfil" in changed else {})
    means = {method: {"mean": sum(values) / len(values), "ci95": 0.01} for method, values in methods.items()}
    result = {"dataset": "d", "split": "test", "way": 5, "shot": shot, "query": 15, "seed": 0, "transductive": True}
    result |= {"meta_model": {}, "results": [{"episodes": len(plain)} | means]} | changed
    (folder / "test" / "results.json").write_text(json.dumps(result))
    with (folder / "test" / "episodes.csv").open("w", newline="") as file:
        lines = zip(range(len(plain)), *methods.values(), strict=True)
        csv.writer(file).writerows([["episode", *methods], *lines])
    (folder / "commit.txt").write_text("7e57ed0\n")
    return folder


def read(results: Path, name: str) -> scored.Scored:
    found = scored.read_row(results, BY_NAME[name], 1)
    assert found is not None
    return found


def cells(report: str, start: str) -> list[list[str]]:
    """Return the cells of the report's lines that begin with this."""
    lines = [line for line in report.splitlines() if line.startswith(f"| {start} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_seeds_stand_side_by_side_with_their_mean_and_deviation(tmp_path: Path) -> None:
    assert seeds.seeds_table(tmp_path) == ""
    for name, plain in (("eci", [0.5, 0.3]), ("eci_seed1", [0.6, 0.4]), ("eci_seed2", [0.8, 0.8])):
        write_row(tmp_path, name, plain)
    write_row(tmp_path, "ei", [0.4, 0.3])
    made = seeds.seeds_table(tmp_path)
    # 0.4, 0.5 and 0.8: mean 17 / 30, sample variance 0.13 / 3
    assert cells(made, BY_NAME["eci"].title) == [
        [BY_NAME["eci"].title, "1", "40.00", "50.00", "80.00", "56.67", "20.82"]
    ]
    assert "paired" not in made  # EI has one seed
    write_row(tmp_path, "ei_seed1", [0.4, 0.3])
    (line,) = cells(seeds.seeds_table(tmp_path), "ECI - EI, paired")
    assert [cell.split(" ")[0] for cell in line[2:]] == ["5.00", "15.00", "-", "10.00", "7.07"]


def test_a_seed_that_was_scored_on_other_episodes_is_refused(tmp_path: Path) -> None:
    write_row(tmp_path, "eci", [0.5, 0.3])
    write_row(tmp_path, "eci_seed1", [0.5, 0.3], seed=1)
    with pytest.raises(ValueError, match="differ in seed"):
        seeds.seeds_table(tmp_path)


def test_a_repeated_row_is_trained_with_its_seed_and_tested_on_the_episodes_of_seed_0() -> None:
    row = REPEATS["distill_leaves", 2]
    fit = row.fits[5]
    assert fit.name == "distill_leaves_seed2"
    assert fit.words()[-4:] == ["--seed_everything", "2", "--data.shot", "1"]
    words = row.words(5)
    assert [words[at + 1] for at, word in enumerate(words) if word == "--seed_everything"] == ["2", "0"]


def test_the_paired_interval_is_that_of_the_differences(tmp_path: Path) -> None:
    write_row(tmp_path, "eci", [0.5, 0.1, 0.9, 0.3])
    write_row(tmp_path, "ei", [0.4, 0.1, 0.7, 0.2])
    found = scored.paired(read(tmp_path, "eci"), read(tmp_path, "ei"))
    # Differences 0.1, 0, 0.2, 0.1: mean 0.1, sample variance 0.02 / 3, over 4 episodes.
    assert found.mean == pytest.approx(0.1)
    assert found.ci95 == pytest.approx(1.959964 * (0.02 / 3 / 4) ** 0.5)
    assert found.episodes == 4


@pytest.mark.parametrize(("plain", "changed"), [([0.1, 0.2], {"seed": 1}), ([0.1, 0.2, 0.3], {})])
def test_rows_of_other_episodes_are_not_paired(tmp_path: Path, plain: list[float], changed: dict[str, int]) -> None:
    write_row(tmp_path, "eci", [0.1, 0.2])
    write_row(tmp_path, "random", plain, **changed)
    with pytest.raises(ValueError, match="the same episodes"):
        table.report(tmp_path, episodes=2)


def test_a_row_of_fewer_episodes_than_wanted_is_named_and_compared_with_nothing(tmp_path: Path) -> None:
    write_row(tmp_path, "eci", [0.5, 0.1, 0.9])
    write_row(tmp_path, "random", [0.2, 0.2, 0.3])
    write_row(tmp_path, "pool_logits_centroid", [0.9, 0.9])
    report = table.report(tmp_path, episodes=3)
    title = "all teachers' logits + nearest centroid (cosine)"
    assert f"Not comparable, since scored on fewer than 3 episodes: '{title}' (1-shot, 2)." in report
    assert f"1-shot: of one network 'random start, fine-tuned', of all '{title}' (not comparable)." in report
    (line,) = cells(report.split("###")[2], "ECI + MAML (PURER)")
    assert line[1].startswith("26.67 ±") and line[2] == "-"
    # The main table and that of the details.
    assert [line[3:5] if len(line) > 8 else line[2:4] for line in cells(report, title)] == [["-", "-"], ["-", "-"]]


def test_each_row_is_set_against_the_best_of_one_network_and_the_best_of_all(tmp_path: Path) -> None:
    write_row(tmp_path, "eci", [0.30, 0.41, 0.50, 0.61], icfil=[0.60, 0.71, 0.80, 0.91])
    write_row(tmp_path, "random", [0.20, 0.30, 0.41, 0.50])
    write_row(tmp_path, "average", [0.31, 0.40, 0.51, 0.60])
    write_row(tmp_path, "pool_logits_centroid", [0.50, 0.60, 0.71, 0.80], meta_model={"architectures": [{}, {}]})
    report = table.report(tmp_path, episodes=4)
    average, pool = "average of the teachers, fine-tuned", "all 2 teachers' logits + nearest centroid (cosine)"
    assert f"- 1-shot: of one network '{average}', of all '{pool}'." in report
    (line,) = cells(report.split("###")[2], "ECI + MAML (PURER) + ICFIL")
    assert line[1].startswith("30.00 ±") and line[2].startswith("10.25 ±") and line[3:] == ["-", "-"]
    (line,) = cells(report.split("###")[2], average)
    assert line[1] == "-" and line[2].startswith("-19.75 ±")
    eci = "'ECI + MAML (PURER)"
    assert f"- 1-shot, against '{average}': above it {eci} + ICFIL'; not told apart from it {eci}'." in report
    assert f"- 1-shot, against '{pool}': above it {eci} + ICFIL'; below it {eci}'." in report
    assert "5-shot: there is no training-free baseline to compare with yet." in report


def test_ei_and_eci_are_compared_at_equal_budget_or_not_at_all(tmp_path: Path) -> None:
    written = (("ei", [0.3, 0.4, 0.5]), ("eci", [0.4, 0.5, 0.61]), ("ei_long", [0.6] * 3), ("eci_long", [0.6] * 3))
    for name, plain in written:
        folder = write_row(tmp_path, name, plain, icfil=[0.5, 0.5, 0.5])
        (folder / "summary.json").write_text(json.dumps(SUMMARY))
    report = table.report(tmp_path, episodes=3)
    both = report.split("### EI against ECI")[1].split("###")[0]
    (line,) = cells(both, "ECI + MAML (PURER)")
    assert line == [*line[:1], "1", "1,234", "10", "10", line[5], "0.00 ± 0.00"] and line[5].startswith("10.33 ±")
    (line,) = cells(both, "ECI + MAML of inner rate 0.1, 3,000 updates")
    assert line[5] == "0.00 ± 0.00"
    assert "1-shot: 'ECI + MAML (PURER)' is above 'EI + MAML', both without ICFIL." in report
    (tmp_path / "ei_1shot" / "summary.json").write_text(json.dumps(SUMMARY | {"updates": 600}))
    with pytest.raises(ValueError, match=r"'EI \+ MAML', 'ECI \+ MAML \(PURER\)' to have had the same updates"):
        table.report(tmp_path, episodes=3)


def test_a_row_counts_from_results_json_on_and_a_table_of_nothing_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "eci_1shot").mkdir()
    (tmp_path / "eci_1shot" / "summary.json").write_text("{}")
    assert scored.read_row(tmp_path, BY_NAME["eci"], 1) is None
    assert f"| {' | '.join(table.MAIN)} |" in table.report(tmp_path)


def test_cost_and_commits_are_those_of_the_files_and_shots_are_named_once_where_they_agree(tmp_path: Path) -> None:
    cost = {"meta_model": {"parameters": 121093, "macs_per_query": 9437184}}
    for shot, minutes in ((1, 9.6), (5, 13.8)):
        folder = write_row(tmp_path, "eci", [0.5, 0.5], shot, **cost)
        (folder / "summary.json").write_text(json.dumps(SUMMARY | {"minutes": minutes}))
        (folder / "fit_commit.txt").write_text("aaa\nbbb-dirty\naaa\n")
    report = table.report(tmp_path, episodes=2)
    main, *_, details = cells(report, "ECI + MAML (PURER)")
    assert main[1:3] == ["yes", "yes"]
    assert main[3:] == ["50.00 ± 1.00", "-"] * 2 + ["121,093", "9,437,184", "1,234", "10 / 14"]
    assert details[-3:] == ["0.7", "aaa, bbb-dirty", "7e57ed0"]
    assert "2 cores, 1 threads a fit, riscv, torch 9.9" in report


def test_every_row_stands_in_the_main_table_under_its_group(tmp_path: Path) -> None:
    for row in ROWS:
        write_row(tmp_path, row.name, [0.1, 0.2])
    main = table.report(tmp_path, episodes=2).split("###")[1]
    order = re.findall(r"^\| (\*\*.*?\*\*|[^*|]+?) \|", main, re.MULTILINE)[1:]
    groups = [group for group in Group if any(row.group == group for row in ROWS)]
    titles = {group: [row.title.format(teachers="") for row in ROWS if row.group == group] for group in groups}
    assert order == [line for group in groups for line in (f"**{group}**", *titles[group])]


def write_times(results: Path, accuracies: list[float]) -> None:
    (results / FIT.name).mkdir(parents=True, exist_ok=True)
    lines = [f"{100 * (i + 1)},{1.5 * (i + 1)},{value}" for i, value in enumerate(accuracies)]
    (results / FIT.name / "times.csv").write_text("\n".join(["update,minutes,val/accuracy", *lines, ""]))


def test_curves_are_accuracy_in_percent_against_minutes(tmp_path: Path) -> None:
    write_times(tmp_path, [0.25, 0.5])
    assert curves.curves(tmp_path, [FIT]) == {1: [curves.Curve("ECI", [1.5, 3.0], [25.0, 50.0])]}


def test_a_method_looks_the_same_in_every_panel_and_unlike_any_other() -> None:
    titles = [f"method {number}" for number in range(len(curves.COLOURS) * len(curves.STYLES))]
    panels = [[curves.Curve(title, [], []) for title in part] for part in (titles, titles[3:])]
    look = curves.looks(panels)
    assert list(look) == titles
    assert len(set(look.values())) == len(titles)


def test_every_fit_that_is_drawn_has_a_look_of_its_own() -> None:
    titles = {fit.title for fit in curves.drawn_fits()}
    look = curves.looks([[curves.Curve(title, [], []) for title in titles]])
    assert len(titles) > len(curves.COLOURS)
    assert len(set(look.values())) == len(titles)


def test_equal_times_make_an_equal_picture_without_a_date(tmp_path: Path) -> None:
    write_times(tmp_path, [0.25, 0.5])
    files = [tmp_path / "one.svg", tmp_path / "other.svg"]
    assert all(curves.draw(tmp_path, file, [FIT]) for file in files)
    text = files[0].read_bytes()
    assert text == files[1].read_bytes()
    assert b">ECI<" in text and b"date" not in text
    write_times(tmp_path, [0.25, 0.6])
    curves.draw(tmp_path, files[1], [FIT])
    assert text != files[1].read_bytes()


def test_without_any_times_there_is_no_picture(tmp_path: Path) -> None:
    assert not curves.draw(tmp_path, tmp_path / "none.svg", [FIT])
    assert list(tmp_path.iterdir()) == []


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2 of ``#rrggbb``."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize(("colour", "least"), [(curves.INK, 4), *((colour, 3) for colour in curves.COLOURS)])
def test_the_pictures_colours_stand_out_on_light_and_dark_pages(colour: str, least: float) -> None:
    for page in ("#ffffff", "#0d1117"):
        darker, lighter = sorted((luminance(colour), luminance(page)))
        assert (lighter + 0.05) / (darker + 0.05) >= least
