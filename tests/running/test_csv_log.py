"""metrics.csv: one line a call, to the bit; cut where a run goes on."""

import csv
from pathlib import Path

import pytest

from purer_lightning.running.csv_log import CsvLog

THIRD = 1 / 3


def lines(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def logged(folder: Path, updates: int, log: CsvLog | None = None, start: int = 0) -> CsvLog:
    """Log a line an update, and one of a validation after every third."""
    log = log or CsvLog(str(folder))
    for update in range(start, updates):
        log.log_metrics({"train/accuracy": THIRD + update}, step=update)
        if update % 3 == 2:
            log.log_metrics({"val/accuracy": THIRD - update}, step=update)
    return log


def test_each_line_is_in_the_file_at_once_and_read_back_to_the_bit(tmp_path: Path) -> None:
    log = logged(tmp_path, 3)
    assert [row["step"] for row in lines(tmp_path)] == ["0", "1", "2", "2"]
    assert float(lines(tmp_path)[3]["val/accuracy"]) == THIRD - 2
    log.log_metrics({"later": 1.0})
    assert lines(tmp_path)[0] == {"later": "", "step": "0", "train/accuracy": repr(THIRD), "val/accuracy": ""}
    assert lines(tmp_path)[-1]["step"] == "4"


@pytest.mark.parametrize("kept", range(7))
def test_a_log_that_is_cut_and_goes_on_is_the_uninterrupted_one(kept: int, tmp_path: Path) -> None:
    logged(tmp_path / "whole", 7)
    logged(tmp_path / "cut", 5)
    log = CsvLog(str(tmp_path / "cut"))
    log.cut(min(kept, 5))
    logged(tmp_path / "cut", 7, log, start=min(kept, 5))
    whole, cut = ((tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "cut"))
    assert cut == whole


def test_part_of_a_line_that_a_killed_process_has_left_is_dropped(tmp_path: Path) -> None:
    logged(tmp_path, 2)
    whole = (tmp_path / "metrics.csv").read_bytes()
    logged(tmp_path, 12)
    text = (tmp_path / "metrics.csv").read_bytes()
    (tmp_path / "metrics.csv").write_bytes(text[: text.rindex(b"11,")] + b"1")  # update 11 as though it were 1
    CsvLog(str(tmp_path)).cut(2)
    assert (tmp_path / "metrics.csv").read_bytes() == whole


def test_a_log_that_is_not_cut_begins_the_file_anew(tmp_path: Path) -> None:
    logged(tmp_path, 5)
    logged(tmp_path, 1)
    assert [row["step"] for row in lines(tmp_path)] == ["0"]


def test_lines_that_are_missing_are_told(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no line of the 4 updates"):
        CsvLog(str(tmp_path)).cut(4)


def test_of_the_last_update_a_line_goes_that_will_be_logged_anew(tmp_path: Path) -> None:
    logged(tmp_path, 3)
    CsvLog(str(tmp_path)).cut(3, due="val/accuracy")
    assert [row["step"] for row in lines(tmp_path)] == ["0", "1", "2"]
    CsvLog(str(tmp_path)).cut(3, due="val/accuracy")
    assert [row["step"] for row in lines(tmp_path)] == ["0", "1", "2"]
