"""A classifier's predictions: rows of a CSV file, and the summary on the screen."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from purer_lightning.adaptation.classifier import AdaptedClassifier
from purer_lightning.adaptation.pictures import OwnPicture, printable
from purer_lightning.files import replacing

FOLDERS = 5  # of no class, that are named
COLUMNS = ("picture", "label", "probability", "folder")


class Prediction(NamedTuple):
    """The prediction for one picture.

    Attributes:
        picture: the picture.
        label: name of the likeliest class.
        probability: of that class, 0 to 1.
        truth: the class whose name the picture's folder has; None where it has no class's, or where the picture is one
            of those learnt from.
        is_copy: it is one of those learnt from, or a copy.
    """

    picture: OwnPicture
    label: str
    probability: float
    truth: str | None
    is_copy: bool


def labelled(
    pictures: Sequence[OwnPicture], probabilities: Tensor, names: Sequence[str], copies: Sequence[bool]
) -> list[Prediction]:
    """Return the likeliest class of each picture, with the class of its folder's name.

    Args:
        pictures: N of them.
        probabilities: (N, len(names)).
        names: of the classes.
        copies: whether each is a support picture, or a copy of one, which proves nothing: it counts as of no class.
    """
    likeliest = probabilities.max(dim=1)
    rows = zip(pictures, likeliest.values.tolist(), likeliest.indices.tolist(), copies, strict=True)
    return [
        Prediction(
            picture,
            names[number],
            probability,
            picture.folder if picture.folder in names and not is_copy else None,
            is_copy,
        )
        for picture, probability, number, is_copy in rows
    ]


def write(output: Path, predictions: Sequence[Prediction]) -> None:
    """Write the predictions as CSV, all or nothing."""
    # A file's name need not be valid UTF-8; it is written as the bytes that it is.
    with (
        replacing(output, parents=True) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for picture, name, probability, _, _ in predictions:
            writer.writerow([picture.path, name, f"{probability:.6f}", picture.folder or ""])


def show(
    console: Console,
    classifier: AdaptedClassifier,
    shown: Sequence[OwnPicture],
    predictions: Sequence[Prediction],
    written: Sequence[str],
) -> None:
    """Print the classes with their numbers of pictures and predictions, and the accuracy where it is known."""
    console.print(_table(classifier.class_names, shown, predictions))
    known = [prediction for prediction in predictions if prediction.truth is not None]
    lines = []
    if known:
        count = sum(prediction.truth == prediction.label for prediction in known)
        lines.append(
            f"Accuracy: {100 * count / len(known):.1f} % ({count} of the {len(known)} pictures that lie in a folder "
            "of a class's name and are not among those learnt from)."
        )
    if copies := [prediction.picture.path for prediction in predictions if prediction.is_copy]:
        lines.append(
            f"Not counted, for they are pictures learnt from or copies of them: {len(copies)}, such as "
            f"'{printable(copies[0])}'."
        )
    lines += _of_no_class(classifier.class_names, predictions)
    lines += [f"Written: {printable(file)}" for file in written]
    for line in lines:
        console.print(line, highlight=False, markup=False)


def _table(names: Sequence[str], shown: Sequence[OwnPicture], predictions: Sequence[Prediction]) -> Table:
    known = [prediction for prediction in predictions if prediction.truth is not None]
    support = Counter(picture.folder for picture in shown)
    predicted = Counter(prediction.label for prediction in predictions)
    asked = Counter(prediction.truth for prediction in known)
    right = Counter(prediction.truth for prediction in known if prediction.truth == prediction.label)
    table = Table(title=f"{len(names)} classes, learnt from {len(shown)} pictures")
    for heading in ("class", "pictures", *(["predicted"] if predictions else []), *(["right"] if known else [])):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for name in names:
        share = f"{right[name]} of {asked[name]}" if asked[name] else ""
        row = [
            escape(printable(name)),
            str(support[name]),
            *([str(predicted[name])] if predictions else []),
            *([share] if known else []),
        ]
        table.add_row(*row)
    return table


def _of_no_class(names: Sequence[str], predictions: Sequence[Prediction]) -> list[str]:
    """Say which folders no class is named after: one of them may be a class's, misspelt."""
    stray = [str(own.picture.folder) for own in predictions if own.picture.folder not in (None, *names)]
    folders = list(dict.fromkeys(stray))
    listed = ", ".join(f"'{printable(name)}'" for name in folders[:FOLDERS]) + (", ..." if folders[FOLDERS:] else "")
    said = f"Not counted, for no class has the name of their folder: {len(stray)} pictures, in {listed}."
    return [said] if stray else []
