"""Reads the file that an offline run of Weights & Biases leaves behind; wandb 0.31 has no public reader of it.

The file is a LevelDB log: after a header of 7 bytes, blocks of 32 KiB with records of ``crc, length, type`` (little
endian, 4 + 2 + 1 bytes) and their bytes; type 1 is a whole record, 2, 3 and 4 its first, middle and last piece.
"""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # made by protobuf at run time

HEADER, BLOCK, PIECE = 7, 32 * 1024, 7
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(file: Path) -> list[Record]:
    """Return what was logged, in order; W&B's own process may go on writing for a moment after a run is finished."""
    for _ in range(200):
        found = list(written(file))
        if found and found[-1].WhichOneof("record_type") == "exit":
            return found
        time.sleep(0.1)
    raise AssertionError(f"{file} has no end: the run was not finished")


def written(file: Path) -> Iterator[Record]:
    """Yield what is in the file so far."""
    content = file.read_bytes()
    assert content.startswith(b":W&B"), f"{file} is no file of W&B"
    position, whole = HEADER, b""
    while position + PIECE <= len(content):
        left = BLOCK - position % BLOCK
        if left < PIECE:  # too little for a record's head: the rest of the block is empty
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        piece = content[position + PIECE : position + PIECE + length]
        position += PIECE + length
        whole = piece if kind in (WHOLE, FIRST) else whole + piece
        if kind in (WHOLE, LAST):
            record = Record()
            record.ParseFromString(whole)
            yield record


def values(items: Any) -> dict[str, Any]:
    """Return the items of a history, summary or configuration record by name."""
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def history(file: Path) -> list[dict[str, Any]]:
    """Return the points that were logged, each with W&B's own step as ``_step``."""
    return [values(record.history.item) for record in records(file) if record.WhichOneof("record_type") == "history"]


def summary(file: Path) -> dict[str, Any]:
    """Return the summary as it was in the end."""
    found: dict[str, Any] = {}
    for record in records(file):
        if record.WhichOneof("record_type") == "summary":
            found |= values(record.summary.update)
    return found


def config(file: Path) -> dict[str, Any]:
    """Return the settings as they were in the end."""
    found: dict[str, Any] = {}
    for record in records(file):
        for part in (record.run.config.update, record.config.update):
            found |= values(part)
    return found


def axes(file: Path) -> dict[str, str]:
    """Return the horizontal axis by name or pattern of metric."""
    metrics = [record.metric for record in records(file) if record.WhichOneof("record_type") == "metric"]
    return {metric.glob_name or metric.name: metric.step_metric for metric in metrics}


def run_id(file: Path) -> str:
    """Return the id of the run."""
    (found,) = {record.run.run_id for record in records(file) if record.WhichOneof("record_type") == "run"}
    return str(found)
