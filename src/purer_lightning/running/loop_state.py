"""Rewrites Lightning's own part of a checkpoint, so that a run resumes where it stopped, wherever its folder is."""

from pathlib import Path
from typing import Any


def count_from(loop: dict[str, Any], updates: int, per_epoch: int, *, validation_due: bool = False) -> None:
    """Rewrite a checkpoint's state of Lightning's (2.6) fit loop as that of a run after ``updates`` updates.

    Lightning's own state depends on the hook in which it was saved: the end of an epoch is gone through once more, an
    epoch that was cut short counts as a whole one, and its validation never comes. Here the state follows from the
    number of updates: whole epochs, each with its validation, and the beginning of another.

    Args:
        loop: is changed.
        updates: made so far.
        per_epoch: updates an epoch, by the settings of the run that goes on.
        validation_due: an epoch whose updates are all made still lacks its validation, which comes first then.
    """
    epochs, within = divmod(updates, per_epoch)
    due = validation_due and within == 0 < updates
    if due:
        epochs, within = epochs - 1, per_epoch
    begun, last_open = int(within > 0), int(within > 0 and not due)
    epoch = {"ready": epochs + begun, "started": epochs + begun, "processed": epochs, "completed": epochs}
    # Within an epoch this is what Lightning saves in the hook at an update's end, where it is not yet completed.
    counts = dict.fromkeys(("ready", "started", "processed"), (updates, within))
    counts["completed"] = (updates - last_open, within - last_open)
    loop["epoch_progress"] = {"total": epoch, "current": dict(epoch)}
    loop["epoch_loop.batch_progress"] = {
        "total": {name: total for name, (total, _) in counts.items()},
        "current": {name: current for name, (_, current) in counts.items()},
        "is_last_batch": due,
    }
    # Lightning counts the last one once more, wherever it begins.
    loop["epoch_loop.state_dict"] = {"_batches_that_stepped": updates - 1}
    nothing = dict.fromkeys(counts, 0)
    # Lightning recognises a pending validation by a batch that was started but not completed.
    total = nothing | {"ready": 1, "started": 1} if due else nothing
    loop["epoch_loop.val_loop.batch_progress"] = {"total": total, "current": dict(nothing), "is_last_batch": False}


def follow_move(state: dict[str, Any], found: Path, here: Path) -> None:
    """Rewrite where the best checkpoint is, by a saved state of Lightning's (2.6) ModelCheckpoint, if it was moved.

    Otherwise Lightning would forget the best accuracy so far, and let the next one, worse or not, take its place.

    Args:
        state: is changed, unless the run goes on in another folder than that of its checkpoint.
        found: the folder of the checkpoint that has the state.
        here: the folder in which the best checkpoint is to be.
    """
    if state["dirpath"] == str(here) or here != found or not (here / Path(state["best_model_path"]).name).is_file():
        return
    state["dirpath"] = str(here)
    for name in ("best_model_path", "kth_best_model_path"):  # the latter is empty where several are wanted
        state[name] = str(here / Path(state[name]).name) if state[name] else ""
    state["best_k_models"] = {str(here / Path(path).name): score for path, score in state["best_k_models"].items()}
