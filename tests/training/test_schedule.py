"""The one-cycle schedule: its shape over a run, and what cannot be scheduled."""

from typing import Any

import pytest
import torch

from purer_lightning.errors import PurerError
from purer_lightning.training.schedule import Schedule, check_schedule, one_cycle, set_rate


def rates(updates: int, largest: float = 0.5) -> list[float]:
    """Return the rate of each update of a run."""
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=largest)
    schedule = one_cycle(optimizer, largest, updates)
    found = []
    for _ in range(updates):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_the_rate_rises_for_a_tenth_of_the_run_to_the_largest_and_falls_to_nothing() -> None:
    found = rates(200)
    top = found.index(max(found))
    assert top == pytest.approx(20, abs=1)
    assert found[top] == pytest.approx(0.5, rel=1e-3)
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert found[0] == pytest.approx(0.5 / 25)
    assert found[-1] < 1e-4 * 0.5


@pytest.mark.parametrize("updates", [*range(1, 13), 19, 20])
def test_a_run_of_any_length_has_a_rate_for_each_update(updates: int) -> None:
    assert all(0 < rate <= 0.5 for rate in rates(updates))


@pytest.mark.parametrize("updates", [-1, 0])
def test_a_run_without_a_number_of_updates_is_refused(updates: int) -> None:
    with pytest.raises(PurerError, match=rf"trainer.max_steps is {updates}; set it .*, or model.meta_schedule to"):
        rates(updates)


@pytest.mark.parametrize("done", [0, 3, 11, 19])
def test_a_rate_changed_on_the_way_is_that_of_a_schedule_which_had_it_from_the_beginning(done: int) -> None:
    changed = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule = one_cycle(changed, 0.5, 20)
    found = []
    for update in range(20):
        if update == done:
            set_rate(changed, 0.2)
        found.append(changed.param_groups[0]["lr"])
        changed.step()
        schedule.step()
    assert found[done:] == pytest.approx(rates(20, largest=0.2)[done:])
    assert found[:done] == rates(20)[:done]


def test_the_same_rate_once_more_changes_no_bit() -> None:
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.3)
    one_cycle(optimizer, 0.3, 20)
    before = dict(optimizer.param_groups[0])
    set_rate(optimizer, 0.3)
    assert optimizer.param_groups[0] == before


def test_a_rate_without_a_schedule_is_simply_set() -> None:
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.3)
    set_rate(optimizer, 0.7)
    assert optimizer.param_groups[0]["lr"] == 0.7


def checkpoint(updates: int | None) -> dict[str, Any]:
    """Return what a checkpoint says of a schedule over so many updates, or of none."""
    if updates is None:
        return {"lr_schedulers": []}
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    return {"lr_schedulers": [one_cycle(optimizer, 1.0, updates).state_dict()]}


@pytest.mark.parametrize(
    ("saved", "schedule", "updates"), [(10, "one_cycle", 10), (None, "constant", 10), (None, "constant", -1)]
)
def test_the_same_schedule_goes_on(saved: int | None, schedule: Schedule, updates: int) -> None:
    check_schedule(checkpoint(saved), schedule, updates)


def test_a_checkpoint_from_before_there_were_schedules_goes_on_without_one() -> None:
    check_schedule({}, "constant", 10)


@pytest.mark.parametrize(
    ("saved", "schedule", "expected"),
    [
        (8, "one_cycle", "had model.meta_schedule one_cycle over 8 updates, but the settings say .* over 10 updates"),
        (10, "constant", "one_cycle over 10 updates, but the settings say model.meta_schedule constant"),
        (None, "one_cycle", "had model.meta_schedule constant, but .* one_cycle over 10 updates; .* so resume with"),
    ],
)
def test_another_schedule_is_refused(saved: int | None, schedule: Schedule, expected: str) -> None:
    with pytest.raises(PurerError, match=expected):
        check_schedule(checkpoint(saved), schedule, 10)
