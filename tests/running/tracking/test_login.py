"""Online or offline, and as which run: decided by what lies on this machine. No server is asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

from purer_lightning.errors import PurerError
from purer_lightning.running.tracking.login import WandbSettings, settled_identity, settled_mode
from tracking.conftest import Tracked

KEY = "k" * 40  # of the length that W&B demands; nobody's


@pytest.fixture
def fresh() -> Iterator[None]:
    """W&B reads its settings once a process; let it read them again."""
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.mark.usefixtures("fresh")
def test_a_login_decides_without_asking_a_server(monkeypatch: pytest.MonkeyPatch, without_login: Path) -> None:
    monkeypatch.delenv("WANDB_MODE")
    assert settled_mode("auto") == "offline"
    with pytest.raises(PurerError, match="wandb login"):
        settled_mode("online")
    wandb.teardown()
    (without_login / "netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    try:
        assert settled_mode("auto") == settled_mode("online") == "online"
        assert settled_mode("offline") == "offline"
    finally:
        (without_login / "netrc").unlink()


@pytest.mark.usefixtures("fresh")
def test_the_environments_mode_wins_over_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert settled_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    wandb.teardown()
    assert settled_mode("auto") is None


@pytest.mark.usefixtures("fresh")
def test_a_damaged_login_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with pytest.raises(PurerError, match="WANDB_API_KEY invalid"):
        settled_mode("auto")


def test_a_folders_run_stays_in_its_project(tracked: Tracked) -> None:
    assert settled_identity(tracked.folder, WandbSettings(project="purer")).project == "purer"
    with pytest.raises(PurerError, match=r"is in the W&B project 'purer', but wandb\.project is 'other'"):
        settled_identity(tracked.folder, WandbSettings(project="other"))


def test_a_damaged_identity_is_named(tmp_path: Path) -> None:
    (tmp_path / "wandb.json").write_text('{"id": ')
    with pytest.raises(PurerError, match=r"wandb\.json' is damaged"):
        settled_identity(tmp_path, WandbSettings())
