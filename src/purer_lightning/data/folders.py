"""Trees of class folders, and the split of their classes: by the tree itself, by a file, or by a seed."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch

from purer_lightning.data.archives import PictureFile
from purer_lightning.data.metadata import SPLITS
from purer_lightning.data.pictures import Classes, Splits
from purer_lightning.errors import PurerError, nearest
from purer_lightning.seeding import generator

ClassNames = dict[str, list[str]]
"""Names of classes by split."""


class Tree(NamedTuple):
    """What a tree of class folders holds.

    Attributes:
        classes: pictures by class.
        split: classes by split, where the tree is ``train|val|test/<class>/``.
        stray: pictures that lie in no class folder.
    """

    classes: Classes
    split: ClassNames | None
    stray: list[str]


def read_tree(files: Sequence[PictureFile], where: str) -> Tree:
    """Group pictures by class folder, and classes by split where the tree is ``train|val|test/<class>/``.

    Folders above all classes count for nothing, so that ``wrapper/cat/1.png`` is of class ``cat``; where classes lie
    deeper, the class is the whole path, such as ``Greek/character01``.

    Args:
        files: as listed by `archives.open_pictures`.
        where: the source, for messages.

    Raises:
        PurerError: no class folders, a split missing, or a class in two splits.
    """
    shared = _shared_parts([file.parts[:-1] for file in files if len(file.parts) > 1])
    classes: Classes = {}
    stray = []
    for file in files:
        if len(file.parts) > shared + 1:
            classes.setdefault("/".join(file.parts[shared:-1]), []).append(file.picture)
        else:
            stray.append(file.picture.where)
    if not classes:
        raise PurerError(
            f"Expected one folder of pictures a class in {where}, but found {len(files)} pictures in "
            f"{len({file.parts[:-1] for file in files})} folders: give the folder (or zip) above the class folders."
        )
    if any(_split_of(name) for name in classes):
        return _tree_in_splits(classes, stray, where)
    return Tree(classes, None, stray)


def _shared_parts(paths: Sequence[tuple[str, ...]]) -> int:
    """Return how many leading parts all paths have in common. The first and the last in order differ the earliest."""
    if not paths:
        return 0
    first, last = min(paths), max(paths)
    same = [one == other for one, other in zip(first, last, strict=False)]
    return same.index(False) if False in same else len(same)


def _split_of(name: str) -> str | None:
    """Return the split that a class's path begins with. A class of the name 'train' (CIFAR-100 has one) is no split."""
    first, _, rest = name.partition("/")
    return first if rest and first in SPLITS else None


def _tree_in_splits(paths: Classes, stray: list[str], where: str) -> Tree:
    split: ClassNames = {name: [] for name in SPLITS}
    for path in paths:
        own = _split_of(path)
        if own is None:
            raise PurerError(
                f"Expected every class of {where} in train/, val/ or test/, as some are, but '{path}' is not: move it, "
                "or say by `--split_file` which class belongs where."
            )
        split[own].append(path.removeprefix(f"{own}/"))
    twice = [name for name, count in Counter(chain(*split.values())).items() if count > 1]
    empty = [name for name in SPLITS if not split[name]]
    if twice or empty:
        found = f"'{twice[0]}' is in two of them" if twice else f"{empty[0]}/ has none"
        raise PurerError(
            f"Expected disjoint classes in train/, val/ and test/ of {where}, for few-shot learning is tested on "
            f"unseen classes, but {found}: give one folder of classes (split by `--seed` then) or a `--split_file`."
        )
    classes = {name: paths[f"{own}/{name}"] for own in SPLITS for name in split[own]}
    return Tree(classes, split, stray)


def seeded_split(names: Iterable[str], fractions: Sequence[float], seed: int) -> ClassNames:
    """Split classes at random: the same names, fractions and seed give the same split.

    Args:
        names: of the classes, in any order.
        fractions: of train, val and test; the counts are rounded, and every split gets a class at least.
        seed: of the draw.

    Raises:
        PurerError: fewer than three classes, or fractions that are not three positive numbers of sum 1.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise PurerError(
            "Expected `fractions` to be three positive numbers (train, val, test) that add up to 1, "
            f"but got {list(fractions)}."
        )
    ordered = sorted(names)
    if len(ordered) < 3:
        raise PurerError(f"Expected at least 3 classes, one for each of train, val and test, but found {ordered}.")
    drawn = [ordered[i] for i in torch.randperm(len(ordered), generator=generator(seed, "class-split")).tolist()]
    train = min(max(1, round(len(drawn) * fractions[0])), len(drawn) - 2)
    val = min(max(1, round(len(drawn) * fractions[1])), len(drawn) - train - 1)
    return {
        "train": sorted(drawn[:train]),
        "val": sorted(drawn[train : train + val]),
        "test": sorted(drawn[train + val :]),
    }


def read_split_file(file: Path) -> ClassNames:
    """Read ``{"train": ["cat", ...], "val": [...], "test": [...]}``.

    Raises:
        PurerError: not such a file, or a class named twice.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        split = {name: [str(member) for member in content[name]] for name in SPLITS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PurerError(
            f'Expected {file} to hold {{"train": [class names], "val": [...], "test": [...]}}, '
            f"but could not read that ({type(error).__name__}: {error})."
        ) from error
    twice = [name for name, count in Counter(chain(*split.values())).items() if count > 1]
    if twice:
        raise PurerError(f"Expected every class once in {file}, but '{twice[0]}' is there twice: leave one.")
    return split


def arrange(classes: Classes, split: ClassNames, where: str) -> Splits:
    """Put classes into their splits, sorted by name. Classes that the split does not name are left out.

    Raises:
        PurerError: a split without classes, or a class of which there are no pictures.
    """
    for name, members in split.items():
        if not members:
            raise PurerError(f"Expected at least one class for the {name} split of {where}, but none is named.")
        for member in members:
            if member not in classes:
                raise PurerError(
                    f"Expected pictures of class '{member}' ({name} split) in {where}, but there are none among its "
                    f"{len(classes)} classes.{nearest(member, classes)}"
                )
    return {name: {member: classes[member] for member in sorted(split[name])} for name in SPLITS}
