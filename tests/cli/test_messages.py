"""Words of the command line that a flag takes as many of as follow."""

import pytest

from purer_lightning.cli.messages import joined_after


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
