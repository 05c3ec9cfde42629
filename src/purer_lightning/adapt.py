"""``purer adapt``: class folders of a few pictures in, a label with its probability for each other picture out."""

import csv
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

from purer_lightning.classifier import BATCH, AdaptedClassifier
from purer_lightning.data.own_pictures import (
    OwnPicture,
    find_query,
    find_support,
    in_batches,
    read_pictures,
    without_pictures,
)
from purer_lightning.errors import PurerError
from purer_lightning.files import replacing
from purer_lightning.learners.base import BatchNormMode
from purer_lightning.learners.registry import import_learner
from purer_lightning.meta_model import MetaModel, load

NAMED = 20  # skipped pictures that are named on the screen
COLUMNS = ("picture", "label", "probability", "folder")


class Prediction(NamedTuple):
    """What is said of one picture.

    Attributes:
        picture: the picture.
        label: name of the likeliest class.
        probability: of that class, 0 to 1.
        truth: the class whose name the picture's folder has; None where it has no class's.
    """

    picture: OwnPicture
    label: str
    probability: float
    truth: str | None


def adapt(
    ckpt_path: str,
    support: str,
    query: list[str] | None = None,
    output: str = "predictions.csv",
    export: list[str] | None = None,
    icfil: bool = False,
    batchnorm: BatchNormMode | None = None,
    pool: str | None = None,
    learner: str | None = None,
    seed: int = 0,
) -> None:
    """Learn new classes from a few pictures each, and label other pictures.

    Pictures may be of any size and format that Pillow reads, in colour or grey: the camera's rotation is applied,
    transparency laid on white, the shorter side resized to the meta-model's size and the centre cropped. Of an
    animation the first picture counts.

    Args:
        ckpt_path: a run folder (its best checkpoint is taken), a checkpoint of purer fit, or a folder written by
            save_pretrained.
        support: folder with one folder a class, each with one picture or more; they need not have equally many.
        query: folders or files to label. In folders that have the classes' names, the accuracy is printed, too.
        output: CSV file of the predictions: picture, label, probability, folder.
        export: files to write the adapted classifier to: model.onnx for deployment, model.safetensors to load again
            with purer_lightning.load_adapted.
        icfil: calibrate the adapted model against its own inversion (ICFIL), by the settings in the run's config.yaml.
        batchnorm: whose statistics normalise the pictures: support, running, or transductive, where the pictures to
            label see one another. By default the training's, but support instead of transductive.
        pool: folder of the pool, for checkpoints that were written before they said their normalisation.
        learner: package.module.Class of a learner of your own. A checkpoint alone never makes anything be imported.
        seed: of ICFIL's pseudo images.
    """
    if not query and not export:
        raise PurerError(
            "Expected something to do: give pictures to label by --query, a file to write by --export, or both."
        )
    check_writable([Path(output)] if query else [])
    classes = find_support(Path(support))
    asked = find_query(query) if query else []
    model = load(ckpt_path, batchnorm=batchnorm, pool=pool, learner=import_learner(learner) if learner else None)
    log = Console(stderr=True, soft_wrap=True)
    shown, classifier = learn(model, classes, Path(support), log, icfil=icfil, seed=seed)
    predictions = label(classifier, asked, {picture.path.resolve() for picture in shown}, log)
    if query:
        write(Path(output), predictions)
    show(Console(soft_wrap=True), classifier, shown, predictions, output if query else None)


def learn(
    model: MetaModel, classes: dict[str, list[OwnPicture]], folder: Path, log: Console, *, icfil: bool, seed: int
) -> tuple[list[OwnPicture], AdaptedClassifier]:
    """Return the support pictures that could be read, and what they made of the meta-model.

    Raises:
        PurerError: a class of which none could be read.
    """
    found = [picture for pictures in classes.values() for picture in pictures]
    kept, images, skipped = read_pictures(found, model.record.image_size, model.record.channels)
    report_skipped(skipped, "support", log)
    readable = Counter(picture.folder for picture in kept)
    for name, pictures in classes.items():
        if not readable[name]:
            raise without_pictures(name, folder / name, len(pictures))
    if images is None:
        raise AssertionError("every class has a readable picture")
    return kept, model.adapt(images, [str(picture.folder) for picture in kept], icfil=icfil, seed=seed)


def label(
    classifier: AdaptedClassifier, asked: Sequence[OwnPicture], shown: set[Path], log: Console
) -> list[Prediction]:
    """Label pictures, ``BATCH`` at a time; all at once where they see one another anyway.

    Args:
        classifier: the adapted meta-model.
        asked: pictures to label.
        shown: resolved paths of the support pictures, which prove nothing as queries: they count as of no class.
        log: where skipped pictures are named.

    Raises:
        PurerError: there are pictures, and none can be read.
    """
    record = classifier.record
    predictions: list[Prediction] = []
    skipped: list[str] = []
    batch = len(asked) if classifier.learner.batchnorm == "transductive" else BATCH
    with Progress(console=log, transient=True) as progress:
        task = progress.add_task("Labelling", total=len(asked))
        for pictures in in_batches(asked, batch):
            kept, images, unread = read_pictures(pictures, record.image_size, record.channels)
            skipped += unread
            if images is not None:
                predictions += labelled(kept, classifier.predict(images), classifier.class_names, shown)
            progress.advance(task, len(pictures))
    report_skipped(skipped, "query", log)
    if asked and not predictions:
        raise PurerError(
            f"Expected pictures to label, but none of the {len(asked)} in --query can be read: {skipped[0]}."
        )
    return predictions


def labelled(
    pictures: Sequence[OwnPicture], probabilities: Tensor, names: Sequence[str], shown: set[Path]
) -> list[Prediction]:
    """Return the likeliest class of each picture, with the class of its folder's name.

    Args:
        pictures: N of them.
        probabilities: (N, len(names)).
        names: of the classes.
        shown: as in ``label``.
    """
    likeliest = probabilities.max(dim=1)
    rows = zip(pictures, likeliest.values.tolist(), likeliest.indices.tolist(), strict=True)
    return [
        Prediction(
            picture,
            names[number],
            probability,
            picture.folder if picture.folder in names and picture.path.resolve() not in shown else None,
        )
        for picture, probability, number in rows
    ]


def report_skipped(skipped: Sequence[str], what: str, log: Console) -> None:
    """Name pictures that were left out, and say how many."""
    for path in skipped[:NAMED]:
        log.print(f"Skipped, for it cannot be read: {path}", markup=False, highlight=False)
    if skipped:
        log.print(f"{len(skipped)} of the {what} pictures could not be read and were skipped.", highlight=False)


def check_writable(files: Sequence[Path]) -> None:
    """Find out before the work whether files can be written; nothing is left behind.

    Raises:
        PurerError: a folder is in a file's place, or a file in a folder's, or the folder is closed to us.
    """
    for file in files:
        folder = next(parent for parent in file.absolute().parents if parent.exists())
        try:
            if file.is_dir():
                raise IsADirectoryError("it is a folder")
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise PurerError(f"Cannot write '{file}' ({error.strerror or error}); give another file.") from error


def write(output: Path, predictions: Sequence[Prediction]) -> None:
    """Write the predictions as CSV, all or nothing."""
    output.parent.mkdir(parents=True, exist_ok=True)
    # A file's name need not be valid UTF-8; it is written as the bytes that it is.
    with (
        replacing(output) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for picture, name, probability, _ in predictions:
            writer.writerow([picture.path, name, f"{probability:.6f}", picture.folder or ""])


def show(
    console: Console,
    classifier: AdaptedClassifier,
    shown: Sequence[OwnPicture],
    predictions: Sequence[Prediction],
    output: str | None,
) -> None:
    """Print the classes with their numbers of pictures and predictions, and the accuracy where it is known."""
    known = [prediction for prediction in predictions if prediction.truth is not None]
    support = Counter(picture.folder for picture in shown)
    predicted = Counter(prediction.label for prediction in predictions)
    asked = Counter(prediction.truth for prediction in known)
    right = Counter(prediction.truth for prediction in known if prediction.truth == prediction.label)
    table = Table(title=f"{len(classifier.class_names)} classes, learnt from {len(shown)} pictures")
    for heading in ("class", "pictures", *(["predicted"] if predictions else []), *(["right"] if known else [])):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for name in classifier.class_names:
        share = f"{right[name]} of {asked[name]}" if asked[name] else ""
        row = [
            escape(name),
            str(support[name]),
            *([str(predicted[name])] if predictions else []),
            *([share] if known else []),
        ]
        table.add_row(*row)
    console.print(table)
    if known:
        count = sum(right.values())
        console.print(
            f"Accuracy: {100 * count / len(known):.1f} % ({count} of the {len(known)} pictures that lie in a folder "
            "of a class's name and are not among those learnt from).",
            highlight=False,
        )
    if output is not None:
        console.print(
            f"{output}: {len(predictions)} pictures with label and probability.", highlight=False, markup=False
        )
