"""Records of ours with anything in any place: each is read, or refused in one sentence. Nothing else is raised."""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pool.pools import prepare_pictures, store
from purer_lightning.adaptation.classifier import load_adapted
from purer_lightning.adaptation.export import METADATA
from purer_lightning.adaptation.meta_model import load
from purer_lightning.data.splits import open_split
from purer_lightning.errors import PurerError
from purer_lightning.learners import Maml
from purer_lightning.pool.teachers import load_pool
from runs import GREY, WIDTH, built, pictures, write_run

MUTATIONS = 150  # of each record; `python tests/test_records.py 4000` makes more
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**400, 1.5, -0.0, 1e308, "", "x", "0", "NaN", "../x", "/etc/passwd"),
    *("\x00", "\ud800", "é", "e\u0301", "x" * 5000, [], [0], [None], ["a", "a"], [[]], {}, {"a": 1}, {"": {}}),
    [[[[[]]]]],
]


class Kind(NamedTuple):
    """A record: where it is, how it is written, and what reads it."""

    content: dict[str, Any]
    write: Callable[[str], object]
    read: Callable[[], object]


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in it."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [place for key, value in items for place in [(*path, key), *places(value, (*path, key))]]


def mutated(content: dict[str, Any], rng: random.Random) -> str:
    """Return JSON in which one to three values are others, are gone, or have another beside them; or broken JSON."""
    found = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        *path, last = rng.choice(places(found))
        parent: Any = found
        for key in path:
            parent = parent[key]
        match rng.randrange(4):
            case 0:
                del parent[last]
            case 1 if isinstance(parent, dict):
                parent[rng.choice(["extra", "", "__class__"])] = copy.deepcopy(rng.choice(VALUES))
            case _:
                parent[last] = copy.deepcopy(rng.choice(VALUES))
        if not places(found):
            break
    text = json.dumps(found)
    if rng.random() < 0.1:
        place = rng.randrange(len(text))
        text = (
            text[:place] + rng.choice(["NaN", "Infinity", "{", "}", '"', "\ufeff", "[" * 2000, "1e999"]) + text[place:]
        )
    return text


def pool_record(folder: Path) -> Kind:
    store(folder, "one", [0, 1, 2])
    file = folder / "pool.json"
    return Kind(json.loads(file.read_text()), file.write_text, lambda: load_pool(folder))


def dataset_record(folder: Path) -> Kind:
    prepare_pictures(folder)
    file = next(folder.glob("*/dataset.json"))
    return Kind(json.loads(file.read_text()), file.write_text, lambda: open_split(folder, file.parent.name, "val"))


def pretrained_record(folder: Path) -> Kind:
    load(write_run(folder / "run", built(Maml("conv4", WIDTH), channels=1), GREY)).save_pretrained(folder / "saved")
    file = folder / "saved" / "config.json"
    return Kind(json.loads(file.read_text()), file.write_text, lambda: load(folder / "saved"))


def classifier_record(folder: Path) -> Kind:
    model = load(write_run(folder / "run", built(Maml("conv4", WIDTH), channels=1), GREY))
    file = folder / "model.safetensors"
    model.adapt(pictures(torch.tensor([0, 1]), channels=1), ["a", "b"]).save(file)
    with safe_open(str(file), "pt") as opened:
        content = json.loads(opened.metadata()[METADATA])
    tensors = load_file(file)

    def write(text: str) -> None:
        save_file(tensors, file, metadata={METADATA: text})

    return Kind(content, write, lambda: load_adapted(file))


def checkpoint_record(folder: Path) -> Kind:
    run = write_run(folder / "run", built(Maml("conv4", WIDTH), channels=1), GREY)
    file = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)

    def write(text: str) -> None:
        try:
            torch.save(checkpoint | {"meta_model": json.loads(text)}, file)
        except (ValueError, RecursionError):  # broken JSON is no value that a checkpoint could hold
            torch.save(checkpoint | {"meta_model": text}, file)

    return Kind(checkpoint["meta_model"], write, lambda: load(run))


KINDS = [pool_record, dataset_record, pretrained_record, classifier_record, checkpoint_record]


def refusals(kind: Kind, count: int, seed: int = 0) -> tuple[int, list[str]]:
    """Mutate a record; return how often it was refused in a sentence, and what else was raised."""
    rng, refused, others = random.Random(seed), 0, []
    for _ in range(count):
        text = mutated(kind.content, rng)
        try:
            kind.write(text)
        except (UnicodeEncodeError, ValueError):  # what cannot be written cannot be read
            continue
        try:
            kind.read()
        except PurerError as error:
            refused += 1
            if "\n" in str(error) or "pydantic" in str(error):
                others.append(f"not one sentence: {error}")
        except Exception as error:
            others.append(f"{type(error).__name__}: {error} for {text[:300]}")
    return refused, others


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_a_damaged_record_is_read_or_refused_in_a_sentence(make: Callable[[Path], Kind], tmp_path: Path) -> None:
    kind = make(tmp_path)
    kind.write(json.dumps(kind.content))
    kind.read()
    refused, others = refusals(kind, MUTATIONS)
    assert others == []
    assert refused > MUTATIONS / 3


if __name__ == "__main__":
    import sys
    import tempfile

    for make in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            refused, others = refusals(make(Path(folder)), int(sys.argv[1]))
        print(
            f"{make.__name__}: {sys.argv[1]} mutated, {refused} refused in a sentence, {len(others)} raised otherwise"
        )
        print(*others[:5], sep="\n")
