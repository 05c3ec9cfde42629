"""A stand-in for the command ``purer``, and the real one's parser, for the tests of experiments/."""

import shlex
from pathlib import Path

import pytest
from lightning.pytorch.cli import LightningArgumentParser

from purer_lightning.cli import trainer
from run import Runner

# Notes what it is called with, and leaves the files that the runner asks for.
PURER = r"""#!/bin/bash
echo "$OMP_NUM_THREADS $*" >> calls
[[ -f failing && "$*" == *"$(cat failing)"* ]] && exit 3
command=$1
while [ $# -gt 0 ]; do [ "$1" = --run ] && run=$2; shift; done
if [ "$command" = fit ]; then
  mkdir -p "$run/checkpoints"; cd "$run"
  touch metrics.csv times.csv config.yaml checkpoints/{last,best}.ckpt
  echo '{"minutes": 3.25}' > summary.json
else
  mkdir -p "$run/$command"
  echo '{"results": [{"plain": {"mean": 0.1, "ci95": 0.1}}, {"plain": {"mean": 0.5, "ci95": 0.01}}]}' \
    > "$run/$command/results.json"
fi
"""


def make_runner(root: Path) -> Runner:
    """Return a runner in an empty folder, with the stand-in for ``purer``."""
    purer = root / "purer"
    purer.write_text(PURER)
    purer.chmod(0o755)
    return Runner(root, str(purer))


def calls(runner: Runner) -> list[list[str]]:
    """Return the words of the calls so far, and forget them; each ran with one thread."""
    file = runner.root / "calls"
    lines = [shlex.split(line) for line in file.read_text().splitlines()] if file.exists() else []
    file.unlink(missing_ok=True)
    assert all(line[0] == "1" for line in lines)
    return [line[1:] for line in lines]


def make_parser(monkeypatch: pytest.MonkeyPatch) -> LightningArgumentParser:
    """Return the parser of ``purer fit``, ``validate`` and ``test``: making it takes longer than reading many lines."""
    made = list[LightningArgumentParser]()

    def keep(_: trainer.PurerCLI, parser: LightningArgumentParser, __: object) -> None:
        made.append(parser)
        raise SystemExit

    monkeypatch.setattr(trainer.PurerCLI, "parse_arguments", keep)
    with pytest.raises(SystemExit):
        trainer.run(["test"])
    return made[0]
