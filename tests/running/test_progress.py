"""Progress of a long job, in a terminal and where there is none."""

import time

import pytest

from purer_lightning.running.progress import JobProgress, duration
from terminals import pipe, terminal


def job(every: float = 0.0) -> None:
    """Do ten things of which four were done before."""
    with JobProgress("sorting", "books", 10, done=4, every=every) as progress:
        for done in range(5, 11):
            progress.advance_to(done, lambda done=done: f"shelf {done}")  # type: ignore[misc]
            if done == 6:
                progress.say("a torn one")


def test_a_terminal_shows_a_bar_with_the_facts_below(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as written:
        job()
    assert "━" in written.text
    assert "10/10" in written.text
    assert "shelf 10" in written.text
    assert written.text.count("a torn one") == 1


def test_a_pipe_gets_plain_lines_with_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with pipe(monkeypatch) as written:
        job()
    lines = written.text.splitlines()
    assert [line.split(",")[0] for line in lines if "torn" not in line] == [
        f"sorting: {done} of 10 books" for done in range(5, 11)
    ]
    assert all("shelf" in line and "so far" in line and "left" in line for line in lines[:1])
    assert "left" not in lines[-1]
    assert "\x1b" not in written.text
    assert "\r" not in written.text


def test_between_two_plain_lines_lies_the_time_asked_for_but_the_last_is_always_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pipe(monkeypatch) as written:
        job(every=3600)
    assert written.text.splitlines() == ["a torn one", "sorting: 10 of 10 books, shelf 10, 0 s"]


def test_time_left_counts_only_what_this_start_has_done(monkeypatch: pytest.MonkeyPatch) -> None:
    with pipe(monkeypatch) as written, JobProgress("x", "y", 110, done=100, every=0.0) as progress:
        time.sleep(0.5)
        progress.advance_to(101)
    left = float(written.text.split(", ")[-1].split(" ")[0])
    assert 4 <= left <= 20  # nine more of half a second each, on a busy machine


def test_an_interrupted_job_leaves_how_far_it_had_come(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pipe(monkeypatch) as written,
        pytest.raises(KeyboardInterrupt),
        JobProgress("x", "y", None, every=3600) as progress,
    ):
        progress.advance_to(3)
        raise KeyboardInterrupt
    assert written.text == "x: 3 y, 0 s so far\n"


def test_a_job_that_is_not_shown_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pipe(monkeypatch) as written, JobProgress("x", "y", 1, enabled=False, every=0.0) as progress:
        progress.advance_to(1)
        progress.say("nothing")
    assert written.text == ""


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (7199, "120 min"), (7200, "2.0 h")]
)
def test_a_duration_is_in_the_unit_that_suits_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words
