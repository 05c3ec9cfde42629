"""Trees of class folders, and the split of their classes: by the tree itself, by a file, or by a seed."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch

from purer_lightning.data.archives import PictureFile
from purer_lightning.data.metadata import SPLITS
from purer_lightning.data.pictures import Classes, Splits
from purer_lightning.data.zip_names import normal_form
from purer_lightning.errors import PurerError, nearest
from purer_lightning.seeding import generator

ClassNames = dict[str, list[str]]
"""Names of classes by split."""


_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trains"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "validating", "vali", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "tests"), "test"),
}
_WORDS_BESIDE_SPLITS = {
    *("", "meta", "seg", "set", "data", "dataset", "split", "part", "class", "classes"),
    *("image", "images", "img", "imgs", "picture", "pictures", "photos", "folder", "cropped"),
}


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


def read_tree(files: Sequence[PictureFile], where: str, *, in_splits: bool = True) -> Tree:
    """Group pictures by class folder, and classes by split where the tree is ``train|val|test/<class>/``.

    These three are known however they are spelt (see `split_named`).

    Folders above all classes count for nothing, so that ``wrapper/cat/1.png`` is of class ``cat``; where classes lie
    deeper, the class is the whole path, such as ``Greek/character01``.

    Args:
        files: as listed by `archives.open_pictures`.
        where: the source, for messages.
        in_splits: take folders of splits' names for splits; else put together what each split has of a class.

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
    if any("/" in name and split_named(name.partition("/")[0]) for name in classes):
        return _tree_in_splits(classes, stray, where) if in_splits else Tree(_without_splits(classes), None, stray)
    _check_no_inner_splits(classes, where)
    return Tree(classes, None, stray)


def _shared_parts(paths: Sequence[tuple[str, ...]]) -> int:
    """Return how many leading parts all paths have in common. The first and the last in order differ the earliest."""
    if not paths:
        return 0
    first, last = min(paths), max(paths)
    same = [one == other for one, other in zip(first, last, strict=False)]
    return same.index(False) if False in same else len(same)


def split_named(folder: str) -> str | None:
    """Return the split that a folder's name means: such as ``Validation``, ``meta-test`` or ``seg_train``."""
    words = [word for word in re.split(r"[^a-z]+", folder.casefold()) if word]
    words = [re.sub("^meta(?=.)|(?<=.)(set|data|ing_?set)$", "", word) for word in words]
    meant = [_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS]
    others = {word for word in words if word not in _SPLIT_WORDS}
    return meant[0] if len(meant) == 1 and others <= _WORDS_BESIDE_SPLITS else None


def _tree_in_splits(paths: Classes, stray: list[str], where: str) -> Tree:
    """Read ``split/class`` paths; what means the same split in two spellings is one split."""
    classes: dict[str, Classes] = {name: {} for name in SPLITS}
    for path, pictures in paths.items():
        first, _, name = path.partition("/")
        own = split_named(first) if name else None
        if own is None:
            raise PurerError(
                f"Expected every class of {where} in train/, val/ or test/, as some are, but '{path}' is not: move it, "
                "or say by `--split_file` which class belongs where."
            )
        classes[own].setdefault(name, []).extend(pictures)
    split = {own: list(members) for own, members in classes.items()}
    twice = [name for name, count in Counter(chain(*split.values())).items() if count > 1]
    empty = [name for name in SPLITS if not split[name]]
    if twice or empty:
        found = f"'{twice[0]}' is in two of them" if twice else f"{empty[0]}/ has none"
        raise PurerError(
            f"Expected disjoint classes in train/, val/ and test/ of {where}, for few-shot learning is tested on "
            f"unseen classes, but {found}: give one folder of classes (split by `--seed` then) or a `--split_file`."
        )
    return Tree({name: classes[own][name] for own in SPLITS for name in split[own]}, split, stray)


def _without_splits(paths: Classes) -> Classes:
    classes: Classes = {}
    for path, pictures in paths.items():
        first, _, name = path.partition("/")
        classes.setdefault(name if name and split_named(first) else path, []).extend(pictures)
    return classes


def _check_no_inner_splits(classes: Classes, where: str) -> None:
    """Refuse ``cat/train/`` beside ``cat/test/``: as two classes they could be in meta-train and meta-test."""
    seen: dict[tuple[str, ...], str] = {}
    for path in classes:
        parts = path.split("/")
        bare = tuple(part for part in parts if split_named(part) is None)
        if len(parts) > 1 and bare and seen.setdefault(bare, path) != path:
            raise PurerError(
                f"Expected every class of {where} in one folder, but '{seen[bare]}' and '{path}' are parts of one "
                "class: put the pictures of a class together."
            )


def doubtful_names(names: Iterable[str]) -> list[str]:
    """Return a sentence on each two classes whose names differ by upper and lower case alone."""
    first: dict[str, str] = {}
    return [
        f"'{first[name.casefold()]}' and '{name}' differ by upper and lower case alone, and are two classes."
        for name in names
        if first.setdefault(name.casefold(), name) != name
    ]


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


def _class_name(member: object) -> str:
    """Return a class's name as it is typed; a whole number is, in JSON, too."""
    if isinstance(member, bool) or not isinstance(member, str | int):
        raise ValueError(f"{json.dumps(member)} is no text; put class names in quotes")
    return normal_form(str(member))


def read_split_file(file: Path) -> ClassNames:
    """Read ``{"train": ["cat", ...], "val": [...], "test": [...]}``.

    Raises:
        PurerError: not such a file, or a class named twice.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        split = {name: [_class_name(member) for member in content[name]] for name in SPLITS}
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
