"""``purer data prepare``: from archives, folders or fonts to memory-mapped files."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import Progress

from purer_lightning.data.folders import read_split_file
from purer_lightning.data.metadata import RECORD_FILE, DatasetRecord, SourceFile, read_dataset
from purer_lightning.data.readers import READERS, Reader, own_name
from purer_lightning.data.writing import DatasetWriter
from purer_lightning.errors import PurerError

_NAMED = 20  # unreadable pictures named on the screen


def prepare(
    dataset: str,
    root: str = "data",
    source: list[str] | str | None = None,
    name: str | None = None,
    image_size: int | None = None,
    channels: Literal[1, 3] | None = None,
    split_file: str | None = None,
    seed: int = 0,
    fractions: tuple[float, float, float] = (0.64, 0.16, 0.2),
    images_per_class: int | None = None,
) -> Path:
    """Make one memory-mapped file a split, with class names and the source's sha256. Does nothing where that is done.

    Args:
        dataset: ``cifar_fs`` (from its zip, from cifar-100-python.tar.gz, or from a folder), ``omniglot`` (from its
            zips), ``folder`` (any folder or zip of class folders), ``glyphs`` (rendered from fonts, without source),
            one of an installed package, or the path of a ``Reader`` of your own.
        root: folder that holds the prepared data sets.
        source: archive or folder to read; several for omniglot.
        name: of the data set; by default ``cifar_fs``, ``omniglot``, ``glyphs``, or the name of the source folder.
        image_size: height and width; by default 32 for cifar_fs and glyphs, 28 for omniglot, 84 for folder. The shorter
            side is resized, then the centre cropped.
        channels: 1 or 3; by default 1 for omniglot, else 3.
        split_file: for folder: JSON {"train": [class names], "val": [...], "test": [...]}. Without it the classes are
            split by folders train|val|test where there are such, else at random.
        seed: of the random class split (folder, omniglot, glyphs) and of the glyphs' rendering.
        fractions: of the classes in train, val and test where the split is random.
        images_per_class: for cifar_fs how many each class must have (600), for glyphs how many are rendered (60).

    Returns:
        The data set's folder.

    Raises:
        PurerError: anything missing, damaged or not as the data set has it. Nothing is left behind then.
    """
    paths = [Path(path) for path in ([source] if isinstance(source, str) else source or [])]
    READERS.name(dataset, "the data set")
    reader = READERS.find(dataset)()
    _check_arguments(dataset, reader, paths, split_file, image_size)
    if images_per_class and reader.images_per_class is None:
        raise PurerError(f"`images_per_class` means nothing to {dataset}, which takes all there are: leave it out.")
    name = _checked_name(name or own_name(reader, dataset, paths))
    recipe: dict[str, Any] = {
        "dataset": dataset,
        "image_size": image_size or reader.image_size,
        "channels": channels or reader.channels,
        "images_per_class": images_per_class or reader.images_per_class,
    }
    if not reader.is_split:
        recipe |= {"seed": seed, "fractions": list(fractions)}
    recipe |= reader.recipe()
    if split_file:
        recipe |= {"split": read_split_file(Path(split_file))}
    console = Console(stderr=True, soft_wrap=True)
    say = partial(console.print, markup=False, highlight=False)
    sources = reader.source_files(paths)
    folder = Path(root) / name
    if _is_done(folder, sources, recipe):
        console.print(f"{folder} is already prepared from this source and intact; nothing to do.")
        return folder
    with ExitStack() as archives:
        splits = reader.read(paths, recipe, archives, say)
        total = sum(len(pictures) for classes in splits.values() for pictures in classes.values())
        progress = archives.enter_context(Progress(console=console, transient=True))
        task = progress.add_task(f"Preparing {name}", total=total)
        writer = DatasetWriter(
            recipe["image_size"],
            recipe["channels"],
            skip_unreadable=reader.skips_unreadable,
            advance=lambda: progress.advance(task),
        )
        record = writer.write(Path(root), name, splits, sources, recipe)
    _report(record, writer, folder, say)
    return folder


def _check_arguments(
    dataset: str, reader: Reader, paths: list[Path], split_file: str | None, image_size: int | None
) -> None:
    """Compare the arguments with each other and with what is on disk."""
    if image_size is not None and image_size < 1:
        raise PurerError(f"Expected `image_size` to be at least 1, but got {image_size}.")
    if split_file and not reader.takes_split_file:
        raise PurerError(
            f"Expected `split_file` for data sets of kind folder only, but got it for {dataset}: leave it out."
        )
    fewest, most = reader.sources
    if not fewest <= len(paths) <= (len(paths) if most is None else most):
        wanted = "no `--source`" if most == 0 else "one `--source` (an archive or a folder)"
        raise PurerError(f"Expected {wanted} for {dataset}, but got {len(paths) or 'none'}.")
    for path in paths:
        if not path.exists():
            raise PurerError(
                f"Expected an archive or a folder at {path.absolute()}, but nothing is there: say by `--source` where "
                "it is."
            )


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise PurerError(
            f"Expected the data set's `name` to be of letters, digits, '_', '-' and '.', but got '{name}': give "
            "another by `--name`."
        )
    return name


def _is_done(folder: Path, sources: list[SourceFile], recipe: dict[str, Any]) -> bool:
    """Tell whether the folder holds, whole, what these sources and settings would make."""
    try:
        record = read_dataset(folder / RECORD_FILE)
    except PurerError:
        return False
    return record.sources == sources and record.recipe == recipe and record.is_whole(folder)


def _report(record: DatasetRecord, writer: DatasetWriter, folder: Path, say: Callable[[str], None]) -> None:
    for picture, reason in zip(writer.skipped[:_NAMED], writer.reasons, strict=False):
        say(f"Left out, for it cannot be read: {picture} ({reason})")
    if writer.skipped:
        say(f"{len(writer.skipped)} unreadable pictures were left out; {folder / RECORD_FILE} names them all.")
    for note in writer.notes:
        say(note)
    sizes = ", ".join(
        f"{name} {len(s.counts)} classes, {sum(s.counts):,} pictures" for name, s in record.splits.items()
    )
    say(f"{folder}: {sizes}.")
