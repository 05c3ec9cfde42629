"""How the meta-model's learning rate moves over a run."""

from collections.abc import Mapping
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from purer_lightning.errors import PurerError

Schedule = Literal["constant", "one_cycle"]


def one_cycle(optimizer: Optimizer, rate: float, updates: int) -> OneCycleLR:
    """Return a schedule up to ``rate`` in the first tenth of a run, then down to nothing (Smith & Topin 2019).

    Adam's first beta goes the other way, from 0.95 to 0.85 and back, which are PyTorch's defaults.

    Args:
        optimizer: of the meta-model.
        rate: the largest.
        updates: of the whole run.

    Raises:
        PurerError: no number of updates over which to lay it out.
    """
    if updates < 1:
        raise PurerError(
            f"model.meta_schedule one_cycle is laid out over all of a run's meta-updates, but trainer.max_steps is "
            f"{updates}; set it to their number, or model.meta_schedule to constant."
        )
    # One step more than there are, since the schedule moves after the last one, too. The way up is one step at least,
    # since PyTorch divides by its length.
    steps = updates + 1
    return OneCycleLR(optimizer, rate, total_steps=steps, pct_start=max(0.1, 2 / steps))


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give an optimiser another learning rate, where a schedule leads it, another largest one.

    Args:
        optimizer: as a checkpoint has left it; that of ``one_cycle`` keeps the schedule's corner points in its groups.
        rate: of the settings.
    """
    for group in optimizer.param_groups:
        if "max_lr" not in group:
            group["lr"] = rate
        elif group["max_lr"] != rate:
            factor = rate / group["max_lr"]
            group.update({name: group[name] * factor for name in ("lr", "initial_lr", "min_lr")}, max_lr=rate)


def check_schedule(checkpoint: Mapping[str, Any], schedule: Schedule, updates: int) -> None:
    """Compare a checkpoint's schedule with the settings', since the checkpoint's is what a resumed run follows.

    Args:
        checkpoint: as torch has loaded it.
        schedule: of the settings.
        updates: of the whole run, by the settings.

    Raises:
        PurerError: they are not the same.
    """
    wanted = [updates] if schedule == "one_cycle" else []
    saved = [state["total_steps"] - 1 for state in checkpoint.get("lr_schedulers", [])]
    if saved != wanted:
        raise PurerError(
            f"The checkpoint's run had {_said(saved)}, but the settings say {_said(wanted)}; a schedule cannot be "
            "changed on the way, so resume with the settings of the checkpoint's run."
        )


def _said(updates: list[int]) -> str:
    return f"model.meta_schedule one_cycle over {updates[0]} updates" if updates else "model.meta_schedule constant"
