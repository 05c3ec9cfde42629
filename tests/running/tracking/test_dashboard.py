"""The workspace that purer dashboard describes: it shows what runs log, and nothing else. No server is asked."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from purer_lightning.cli import main
from tracking import wandb_file
from tracking.conftest import Tracked

pytest.importorskip("wandb_workspaces")


@pytest.fixture
def described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return what the command writes where there is no login."""
    output = tmp_path / "new folder" / "dashboard.json"
    main(["dashboard", "--project", "mine", "--output", str(output)])
    said = capsys.readouterr().out
    assert "nothing was saved there" in said
    assert str(output) in said
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def sections(described: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = described["spec"]["section"]["panelBankConfig"]["sections"]
    return found


def shown(described: dict[str, Any]) -> Iterator[str]:
    """Yield the name of everything logged that some panel shows."""
    for section in sections(described):
        for panel in section["panels"]:
            config = panel["config"]
            yield from config.get("metrics", [])
            yield from config.get("mediaKeys", [])
            yield from [config["xAxis"]] if "xAxis" in config else []


def test_difficulty_against_firings_comes_first(described: dict[str, Any]) -> None:
    first = sections(described)[0]["panels"][0]["config"]
    assert (first["xAxis"], first["metrics"]) == ("curriculum/firings", ["curriculum/difficulty"])
    assert described["project"] == "mine"


def test_every_panel_shows_something_that_a_run_logs(described: dict[str, Any], tracked: Tracked) -> None:
    logged = {name for file in tracked.starts for point in wandb_file.history(file) for name in point}
    logged |= {name for file in tracked.starts for name in wandb_file.summary(file)}
    logged |= {name.partition("/")[0] for name in logged if name.startswith(("pseudo_images/", "pool/"))}
    names = set(shown(described))
    assert len(names) > 10
    assert names <= logged
    assert {"curriculum/switch", "val/accuracy", "pseudo_images", "test/accuracy"} <= names
    assert "pool" in json.dumps(sections(described)[-1]["panels"])


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    with pytest.raises(SystemExit):
        main(["dashboard", "--output", str(tmp_path / "dashboard.json")])
    assert "pip install 'purer-lightning[dashboard]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
