"""Where Lightning's loops begin in a run that goes on."""

import pytest

from purer_lightning.running.loop_state import count_from


@pytest.mark.parametrize(
    ("updates", "epochs_begun", "epochs_done", "of_the_epoch"), [(4, 1, 1, 0), (6, 2, 1, 2), (12, 3, 3, 0)]
)
def test_the_loops_begin_where_the_number_of_updates_says(
    updates: int, epochs_begun: int, epochs_done: int, of_the_epoch: int
) -> None:
    loop: dict[str, dict[str, dict[str, int]]] = {}
    count_from(loop, updates, per_epoch=4)
    epochs, batches = loop["epoch_progress"]["current"], loop["epoch_loop.batch_progress"]["current"]
    assert (epochs["ready"], epochs["processed"], epochs["completed"]) == (epochs_begun, epochs_done, epochs_done)
    assert batches["ready"] == of_the_epoch


@pytest.mark.parametrize(("updates", "begun"), [(8, True), (6, False), (0, False)])
def test_a_validation_that_is_due_is_known_by_one_begun_and_comes_at_an_epochs_end_alone(
    updates: int, begun: bool
) -> None:
    loop: dict[str, dict[str, dict[str, int]]] = {}
    count_from(loop, updates, per_epoch=4, validation_due=True)
    validation = loop["epoch_loop.val_loop.batch_progress"]["total"]
    assert (validation["started"], validation["processed"]) == (int(begun), 0)
    epochs, batches = loop["epoch_progress"]["current"], loop["epoch_loop.batch_progress"]["current"]
    assert epochs["processed"] == (updates // 4 - 1 if begun else updates // 4)
    assert batches["ready"] == (4 if begun else updates % 4)
