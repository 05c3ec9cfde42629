"""Words of the command line that a flag takes as many of as follow."""

import json

import pytest

from purer_lightning.cli.messages import joined_after, names_as_typed
from purer_lightning.errors import PurerError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--query", "a.png", "b c.png"], ["--query+", '["a.png", "b c.png"]']),
        (["--query", "1", "--seed", "2"], ["--query+", '["1"]', "--seed", "2"]),
        (["--query=a", "--query", "b"], ["--query+", '["a"]', "--query+", '["b"]']),
        (["--seed", "2", "--query"], ["--seed", "2", "--query+", "[]"]),
        (["--other", "a", "b"], ["--other", "a", "b"]),
        ([], []),
    ],
)
def test_the_words_after_such_a_flag_become_one_list(words: list[str], expected: list[str]) -> None:
    assert joined_after(words, ["--query"]) == expected


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("[0, 01, 1e3]", ["0", "01", "1e3"]),
        ("[no, on, null, ~, True]", ["no", "on", "null", "~", "True"]),
        ("[2020-01-01, 1_000, 0x10, .inf]", ["2020-01-01", "1_000", "0x10", ".inf"]),
        ("['a, b', \"c: d\"]", ["a, b", "c: d"]),
    ],
)
def test_names_stay_as_they_are_typed(typed: str, names: list[str]) -> None:
    for words in (["--class_names", typed], [f"--class_names={typed}"]):
        *_, last = names_as_typed(["--pool", "[no]", *words], ["--class_names"])
        assert json.loads(last.removeprefix("--class_names=")) == names


@pytest.mark.parametrize("typed", ["a,b,c", "[a, [b]]", "[a, b", "{a: b}"])
def test_what_is_no_list_of_names_is_one_sentence(typed: str) -> None:
    with pytest.raises(PurerError, match="a list of names in brackets"):
        names_as_typed(["--class_names", typed], ["--class_names"])
