"""Under which Trainers PurerModule trains, and what it says of others."""

from typing import Any

import pytest
from lightning import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy

from purer_lightning.errors import PurerError
from purer_lightning.training.checks import check_trainer


def make_trainer(**settings: Any) -> Trainer:
    return Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **settings)


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed", "16-mixed"])
def test_one_process_trains_in_each_precision_that_the_method_bears(precision: Any) -> None:
    check_trainer(make_trainer(devices=1, precision=precision))


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "ddp_find_unused_parameters_true"])
def test_several_ranks_train_under_every_kind_of_ddp(strategy: str) -> None:
    check_trainer(make_trainer(devices=2, strategy=strategy, use_distributed_sampler=False))


def test_lightnings_own_sampler_is_refused_on_several_ranks_since_it_would_share_out_the_updates() -> None:
    check_trainer(make_trainer(devices=1))
    with pytest.raises(PurerError, match="set it to false"):
        check_trainer(make_trainer(devices=2, strategy="ddp"))


def test_a_strategy_that_cuts_the_meta_model_is_refused() -> None:
    with pytest.raises(PurerError, match=r"trainer\.strategy to be auto or ddp, but got ModelParallelStrategy"):
        check_trainer(make_trainer(devices=2, strategy=ModelParallelStrategy(), use_distributed_sampler=False))


def test_half_precision_is_refused() -> None:
    with pytest.raises(PurerError, match="half precision cannot hold"):
        check_trainer(make_trainer(devices=1, precision="bf16-true"))


@pytest.mark.parametrize("interval", [0.5, 1, 50, "00:00:10:00"])
def test_validations_within_an_epoch_are_refused(interval: float | str) -> None:
    with pytest.raises(PurerError, match=r"trainer\.val_check_interval is .*set data\.updates_per_epoch"):
        check_trainer(make_trainer(devices=1, val_check_interval=interval))
