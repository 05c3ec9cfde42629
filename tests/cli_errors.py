"""What the command says of a user's mistake."""

import pytest

from purer_lightning.cli import main


def complaint(capsys: pytest.CaptureFixture[str], words: list[str], status: int = 1) -> str:
    """Run the command and return the one sentence that it ends with."""
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == status
    said = capsys.readouterr().err.splitlines()
    (sentence,) = [line for line in said if line.startswith("purer")]
    assert "Traceback" not in "".join(said)
    return sentence
