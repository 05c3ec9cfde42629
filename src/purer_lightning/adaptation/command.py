"""``purer adapt``: class folders of a few pictures in, a label with its probability for each other picture out."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from purer_lightning.adaptation.classifier import BATCH, AdaptedClassifier
from purer_lightning.adaptation.export import check_exportable, check_exports
from purer_lightning.adaptation.export import export as export_classifier
from purer_lightning.adaptation.meta_model import MetaModel, load
from purer_lightning.adaptation.pictures import (
    OwnPicture,
    find_query,
    find_support,
    in_batches,
    loose_pictures,
    no_pictures,
    printable,
    read_pictures,
    white_of,
    without_pictures,
)
from purer_lightning.adaptation.predictions import Prediction, labelled, show, write
from purer_lightning.data.copies import Copies
from purer_lightning.data.depth import WhiteOfSet
from purer_lightning.errors import PurerError
from purer_lightning.files import check_writable, is_stdout
from purer_lightning.learners.base import BatchNormMode
from purer_lightning.learners.heads import HEADS
from purer_lightning.learners.loading import import_learner
from purer_lightning.nets import NETWORKS
from purer_lightning.running.names import PREDICTIONS

NAMED = 20  # skipped pictures that are named on the screen


def adapt(
    ckpt_path: str,
    support: str,
    query: list[str] | None = None,
    output: str = PREDICTIONS,
    export: list[str] | None = None,
    icfil: bool = False,
    batchnorm: BatchNormMode | None = None,
    pool: str | None = None,
    learner: str | None = None,
    network: str | None = None,
    head: str | None = None,
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
        network: package.module.Class of a network of your own, likewise.
        head: package.module.Class of a head of your own, likewise.
        seed: of ICFIL's pseudo images.
    """
    if not query and not export:
        raise PurerError(
            "Expected something to do: give pictures to label by --query, a file to write by --export, or both."
        )
    exports = [Path(file) for file in export or []]
    check_exports(exports)
    check_writable([*([Path(output)] if query else []), *exports])
    NETWORKS.name(network or "", "--network")
    HEADS.name(head or "", "--head")
    classes = find_support(Path(support))
    asked = find_query(query) if query else []
    model = load(ckpt_path, batchnorm=batchnorm, pool=pool, learner=import_learner(learner) if learner else None)
    check_exportable(model.learner, exports)
    log = Console(stderr=True, soft_wrap=True)
    for folder in filter(Path.is_dir, map(Path, [support, *(query or [])])):
        report_left_out(no_pictures(folder), folder, "no picture begins as they do, or has such a suffix", "files", log)
    report_left_out(loose_pictures(Path(support)), Path(support), "they lie in no class's folder", "pictures", log)
    white = white_of([*chain(*classes.values()), *asked])
    shown, fingerprints, classifier = learn(model, classes, Path(support), white, log, icfil=icfil, seed=seed)
    predictions = label(classifier, asked, fingerprints, white, log)
    for note in white.notes:
        log.print(note, markup=False, highlight=False)
    for file in exports:
        export_classifier(classifier, file)
    if query:
        write(Path(output), predictions)
    # Predictions on standard output stay a table that a program can read.
    console = log if query and is_stdout(Path(output)) else Console(soft_wrap=True)
    show(console, classifier, shown, predictions, [*([output] if query else []), *map(str, exports)])


def learn(
    model: MetaModel,
    classes: dict[str, list[OwnPicture]],
    folder: Path,
    white: WhiteOfSet,
    log: Console,
    *,
    icfil: bool,
    seed: int,
) -> tuple[list[OwnPicture], set[bytes], AdaptedClassifier]:
    """Return the support pictures that could be read, their fingerprints, and what they made of the meta-model.

    Raises:
        PurerError: a class of which none could be read.
    """
    found = [picture for pictures in classes.values() for picture in pictures]
    kept, images, skipped, fingerprints = read_pictures(found, model.record.image_size, model.record.channels, white)
    report_skipped(skipped, "support", log)
    readable = Counter(picture.folder for picture in kept)
    for name, pictures in classes.items():
        if not readable[name]:
            raise without_pictures(name, folder / name, len(pictures))
    if images is None:
        raise AssertionError("every class has a readable picture")
    copies = Copies()
    for own, image in zip(kept, images.numpy(), strict=True):
        copies.see(image, "", str(own.folder), printable(own.path))
    for note in copies.notes():
        log.print(note, markup=False, highlight=False)
    classifier = model.adapt(images, [str(picture.folder) for picture in kept], icfil=icfil, seed=seed)
    return kept, set(fingerprints), classifier


def label(
    classifier: AdaptedClassifier, asked: Sequence[OwnPicture], shown: set[bytes], white: WhiteOfSet, log: Console
) -> list[Prediction]:
    """Label pictures, ``BATCH`` at a time; all at once where they see one another anyway.

    Args:
        classifier: the adapted meta-model.
        asked: pictures to label.
        shown: fingerprints of the support pictures.
        white: of all pictures of the command.
        log: where skipped pictures are named.

    Raises:
        PurerError: there are pictures, and none can be read.
    """
    record = classifier.record
    predictions: list[Prediction] = []
    skipped: list[str] = []
    batch = len(asked) if classifier.learner.batchnorm == "transductive" else BATCH
    with Progress(console=log, transient=True, disable=not log.is_terminal) as progress:
        task = progress.add_task("Labelling", total=len(asked))
        for pictures in in_batches(asked, batch):
            kept, images, unread, fingerprints = read_pictures(pictures, record.image_size, record.channels, white)
            skipped += unread
            if images is not None:
                copies = [fingerprint in shown for fingerprint in fingerprints]
                predictions += labelled(kept, classifier.predict(images), classifier.class_names, copies)
            progress.advance(task, len(pictures))
    report_skipped(skipped, "query", log)
    if asked and not predictions:
        raise PurerError(
            f"Expected pictures to label, but none of the {len(asked)} in --query can be read: {skipped[0]}."
        )
    return predictions


def report_skipped(skipped: Sequence[str], what: str, log: Console) -> None:
    """Count the pictures that were left out, and name the first."""
    for path in skipped[:NAMED]:
        log.print(f"Skipped, for it cannot be read: {path}", markup=False, highlight=False)
    if skipped:
        log.print(f"{len(skipped)} of the {what} pictures could not be read and were skipped.", highlight=False)


def report_left_out(files: Sequence[Path], folder: Path, why: str, what: str, log: Console) -> None:
    """Say how many files were left out, and why, so that nobody's .heic are missed in silence."""
    if files:
        log.print(
            f"Left out of '{printable(folder)}', for {why}: {len(files)} {what}, such as '{printable(files[0].name)}'.",
            markup=False,
            highlight=False,
        )
