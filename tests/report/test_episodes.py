"""Hardest and easiest episodes, drawn again by their ids."""

import re
from pathlib import Path

import pytest
import torch

from purer_lightning.cli import main
from purer_lightning.report.episodes import hardest_and_easiest, real_episodes
from purer_lightning.report.results import Result, Row, find_results
from purer_lightning.report.runs import Run, read_run


@pytest.fixture
def scored(run: Path) -> tuple[Run, Result]:
    read = read_run(run)
    return read, next(result for result in find_results([read]) if result.run == 0)


def test_the_lowest_and_the_highest_are_found_and_none_twice() -> None:
    accuracies = {"plain": dict(enumerate([0.5, 0.2, 0.9, 0.2, 0.9, 0.1]))}
    row = Row(Result("r", Path(), {}, accuracies, 0), "plain")
    assert hardest_and_easiest(row, 2) == ([5, 1], [2, 4])
    assert hardest_and_easiest(row, 9) == ([5, 1, 3, 0, 2, 4], [])


def test_an_episode_is_drawn_again_as_it_was_scored(scored: tuple[Run, Result]) -> None:
    drawn = real_episodes(*scored)
    names, pictures = drawn.pictures(3)
    episode = drawn[3]
    assert pictures.shape == (3, 4, 3, 16, 16)
    assert len(set(names)) == 3
    again = drawn.normalisation.undo(episode.support)
    assert torch.equal(again, pictures[:, :1].flatten(0, 1))
    own = drawn.split.of_class(drawn.split.class_names.index(names[2]))
    assert any(torch.equal(pictures[2, 0], picture) for picture in own)


def test_the_report_shows_six_episodes_with_every_class_named(run: Path, scored: tuple[Run, Result]) -> None:
    main(["report", str(run)])
    page = (run / "report.html").read_text()
    ids = [int(number) for number in re.findall(r"<strong>Episode (\d+)</strong>", page)]
    hardest, easiest = hardest_and_easiest(Row(scored[1], "icfil"))
    assert ids == [*hardest, *easiest]
    drawn = real_episodes(*scored)
    for number in ids:
        for name in drawn.pictures(number)[0]:
            assert f'alt="Support of {name}"' in page
            assert f'alt="Queries of {name}"' in page


def test_without_the_data_the_report_says_so_and_is_written(run: Path, tmp_path: Path) -> None:
    config = run / "test" / "config.yaml"
    config.write_text(re.sub(r"root: .*", f"root: {tmp_path / 'moved'}", config.read_text()))
    main(["report", str(run)])
    page = (run / "report.html").read_text()
    assert "cannot be drawn again here" in page
    assert "--root" in page
    assert "Histogram" in page


def test_the_data_may_be_named(run: Path, tmp_path: Path, toy_data: Path) -> None:
    config = run / "test" / "config.yaml"
    config.write_text(re.sub(r"root: .*", f"root: {tmp_path / 'moved'}", config.read_text()))
    main(["report", str(run), "--root", str(toy_data)])
    assert "<strong>Episode" in (run / "report.html").read_text()
