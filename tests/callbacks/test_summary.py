"""summary.json and times.csv: minutes add up over the starts of a run."""

import csv
import json
import time
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from purer_lightning.callbacks import SummaryCallback
from purer_lightning.errors import PurerError

EARLIER = 7.0  # minutes, far more than these tests take


class Line(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        del batch_idx
        return self.layer(batch[0]).square().mean()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, updates: int, summary: SummaryCallback, resume: Path | None = None) -> Trainer:
    """Train to so many updates, with the default folder as the run's."""
    folder.mkdir(exist_ok=True)  # the command line makes it before training begins
    trainer = Trainer(
        max_steps=updates,
        default_root_dir=folder,
        callbacks=[summary],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = DataLoader(TensorDataset(torch.ones(4, 1)))
    trainer.fit(Line(), batches, ckpt_path=resume)
    return trainer


def written(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "summary.json").read_text())
    return found


@pytest.mark.filterwarnings("ignore")  # Lightning's advice about workers and its checkpoint folder
def test_a_resumed_run_counts_the_minutes_of_the_earlier_start(tmp_path: Path) -> None:
    first = SummaryCallback()
    first.load_state_dict({"minutes": EARLIER})  # as though it had run so long
    trainer = fit(tmp_path / "first", 2, first)
    assert EARLIER < written(tmp_path / "first")["minutes"] < EARLIER + 1
    trainer.save_checkpoint(tmp_path / "last.ckpt")

    began = time.monotonic()
    fit(tmp_path / "second", 4, SummaryCallback(), tmp_path / "last.ckpt")
    alone = (time.monotonic() - began) / 60

    second = written(tmp_path / "second")
    assert second["updates"] == 4
    assert written(tmp_path / "first")["minutes"] < second["minutes"] <= written(tmp_path / "first")["minutes"] + alone
    assert alone < EARLIER


@pytest.mark.filterwarnings("ignore")
def test_a_start_that_finds_nothing_left_to_do_changes_no_summary_but_writes_one_that_is_missing(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    trainer = fit(run, 2, SummaryCallback())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    (run / "summary.json").write_text('{"peak_memory_gib": 30.0}')
    fit(run, 2, SummaryCallback(), tmp_path / "last.ckpt")
    assert written(run) == {"peak_memory_gib": 30.0}
    (run / "summary.json").unlink()
    fit(run, 2, SummaryCallback(), tmp_path / "last.ckpt")
    assert written(run)["updates"] == 2
    fit(run, 4, SummaryCallback(), tmp_path / "last.ckpt")
    assert written(run)["updates"] == 4


def test_a_checkpoint_within_a_start_holds_its_minutes_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = SummaryCallback()
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    assert summary.state_dict()["minutes"] == 0.0
    summary.load_state_dict({"minutes": 2.0})
    summary.on_fit_start(Trainer(logger=False), Line())
    clock[0] += 180.0
    assert summary.state_dict()["minutes"] == 5.0


def test_a_write_that_fails_leaves_the_earlier_summary_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "summary.json").write_text("earlier")

    def full(file: Path, text: str) -> int:
        file.touch()
        raise OSError(f"no space for {len(text)} characters")

    trainer = Trainer(logger=False, default_root_dir=tmp_path)
    summary = SummaryCallback()
    summary.on_train_start(trainer, Line())
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(PurerError, match="no space"):
        summary.on_fit_end(trainer, Line())
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]
    assert (tmp_path / "summary.json").read_text() == "earlier"


class Validated(Line):
    """Logs an accuracy that is the number of validations so far, in tenths."""

    def __init__(self) -> None:
        super().__init__()
        self.validations = 0

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        del batch, batch_idx

    def on_validation_epoch_end(self) -> None:
        self.validations += 1
        self.log("val/accuracy", self.validations / 10)


def validated(folder: Path, updates: int, resume: Path | None = None) -> Trainer:
    """Train with a validation after every 4 updates, and Lightning's check of the validation before the first."""
    folder.mkdir(exist_ok=True)
    trainer = Trainer(
        max_steps=updates,
        default_root_dir=folder,
        callbacks=[SummaryCallback()],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=2,
    )
    batches = DataLoader(TensorDataset(torch.ones(4, 1)))
    trainer.fit(Validated(), batches, batches, ckpt_path=resume)
    return trainer


def times(folder: Path) -> list[list[str]]:
    with (folder / "times.csv").open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.filterwarnings("ignore")
def test_each_validation_of_the_fit_is_a_line_of_update_minutes_and_accuracy(tmp_path: Path) -> None:
    began = time.monotonic()
    trainer = validated(tmp_path, 8)
    taken = (time.monotonic() - began) / 60
    header, *lines = times(tmp_path)
    assert header == ["update", "minutes", "val/accuracy"]
    # The check before training, which counts as 0.1, is none of them.
    assert [line[0] for line in lines] == ["4", "8"]
    assert [float(line[2]) for line in lines] == pytest.approx([0.2, 0.3])
    assert 0 < float(lines[0][1]) < float(lines[1][1]) < taken
    trainer.validate(trainer.lightning_module, DataLoader(TensorDataset(torch.ones(1, 1))), verbose=False)
    assert times(tmp_path) == [header, *lines]


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_run_has_no_line_twice_and_minutes_that_grow(tmp_path: Path) -> None:
    validated(tmp_path, 4).save_checkpoint(tmp_path / "last.ckpt")
    (kept,) = times(tmp_path)[1:]
    # Interrupted after a validation that came after its last checkpoint.
    validated(tmp_path, 8, tmp_path / "last.ckpt")
    assert [line[0] for line in times(tmp_path)[1:]] == ["4", "8"]
    validated(tmp_path, 12, tmp_path / "last.ckpt")
    _, *lines = times(tmp_path)
    assert [line[0] for line in lines] == ["4", "8", "12"]
    assert lines[0] == kept
    minutes = [float(line[1]) for line in lines]
    assert minutes == sorted(minutes)
