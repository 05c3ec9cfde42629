"""Reading metrics.csv in all its states, and thinning curves."""

from pathlib import Path

import pytest

from purer_lightning.errors import PurerError
from purer_lightning.report.curves import Curve, Moment, read_curves, read_times, smoothed, thinned

HEAD = "curriculum/difficulty,step,val/accuracy"


def write(file: Path, *lines: str) -> None:
    file.write_text("".join(f"{line}\n" for line in (HEAD, *lines)))


def test_an_update_is_the_step_and_one(tmp_path: Path) -> None:
    write(tmp_path / "metrics.csv", "1.5,0,", "1.25,1,", ",1,0.5")
    curves = read_curves(tmp_path)
    assert curves["curriculum/difficulty"] == Curve([1, 2], [1.5, 1.25])
    assert curves["val/accuracy"] == Curve([2], [0.5])


def test_a_line_without_its_end_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(f"{HEAD}\n1.5,0,\n1.2")
    assert read_curves(tmp_path)["curriculum/difficulty"] == Curve([1], [1.5])


def test_times_are_read_or_empty(tmp_path: Path) -> None:
    assert read_times(tmp_path) == []
    (tmp_path / "times.csv").write_text("update,minutes,val/accuracy\n200,1.5,0.25\n")
    assert read_times(tmp_path) == [Moment(200, 1.5, 0.25)]


@pytest.mark.parametrize(("name", "line"), [("metrics.csv", "1.0,,0.5"), ("times.csv", "400,,")])
def test_a_line_without_what_every_line_has_is_told(name: str, line: str, tmp_path: Path) -> None:
    write(tmp_path / "metrics.csv", "1.5,0,")
    (tmp_path / "times.csv").write_text("update,minutes,val/accuracy\n200,1.5,0.25\n")
    with (tmp_path / name).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(PurerError, match=rf"line 3 of '.*{name}'"):
        (read_curves if name == "metrics.csv" else read_times)(tmp_path)


@pytest.mark.parametrize("length", [1, 7, 100, 101, 1000])
def test_a_thinned_curve_is_short_ends_where_it_ended_and_keeps_its_mean(length: int) -> None:
    curve = Curve(list(range(1, length + 1)), [float(update) for update in range(1, length + 1)])
    thin = thinned(curve, 100)
    assert len(thin.updates) == len(thin.values) <= 100
    assert thin.updates[-1] == length
    assert thin.updates == sorted(set(thin.updates))
    if length == 1000:
        assert sum(thin.values) / len(thin.values) == pytest.approx(500.5)


def test_smoothing_averages_neighbours_and_is_shorter_at_the_ends() -> None:
    assert smoothed(Curve([1, 2, 3, 4], [0, 3, 6, 0]), 3).values == [1.5, 3, 3, 3]
    assert smoothed(Curve([1, 2], [5, 7]), 1).values == [5, 7]
