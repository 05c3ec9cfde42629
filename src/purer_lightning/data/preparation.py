"""``purer data prepare``: from archives, folders or fonts to memory-mapped files."""

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import PIL
from rich.console import Console
from rich.progress import Progress

from purer_lightning.data.archives import open_pictures
from purer_lightning.data.cifar import arrange_cifar_fs, read_cifar_tar
from purer_lightning.data.folders import arrange, read_split_file, read_tree, seeded_split
from purer_lightning.data.glyphs import font_sources, glyph_pictures
from purer_lightning.data.metadata import RECORD_FILE, DatasetRecord, SourceFile, read_dataset, source_of
from purer_lightning.data.omniglot import read_omniglot
from purer_lightning.data.pictures import Splits
from purer_lightning.data.writing import DatasetWriter
from purer_lightning.errors import PurerError, nearest

DatasetKind = Literal["cifar_fs", "omniglot", "folder", "glyphs"]

# 84 for one's own photos is the literature's size since Vinyals et al. 2016; the others are the data sets' own.
_IMAGE_SIZE = {"cifar_fs": 32, "omniglot": 28, "folder": 84, "glyphs": 32}
_IMAGES_PER_CLASS = {"cifar_fs": 600, "glyphs": 60}
_NAMED = 20  # unreadable pictures named on the screen


def prepare(
    dataset: DatasetKind,
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
            zips), ``folder`` (any folder or zip of class folders) or ``glyphs`` (rendered from fonts, without source).
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
    _check_arguments(dataset, paths, split_file, image_size)
    name = _checked_name(name or (_own_name(paths[0]) if dataset == "folder" else dataset))
    recipe: dict[str, Any] = {
        "dataset": dataset,
        "image_size": image_size or _IMAGE_SIZE[dataset],
        "channels": channels or (1 if dataset == "omniglot" else 3),
        "images_per_class": images_per_class or _IMAGES_PER_CLASS.get(dataset),
    }
    if dataset != "cifar_fs":
        recipe |= {"seed": seed, "fractions": list(fractions)}
    if dataset == "glyphs":
        recipe |= {"pillow": PIL.__version__}  # its FreeType draws the characters
    if split_file:
        recipe |= {"split": read_split_file(Path(split_file))}
    console = Console(stderr=True, soft_wrap=True)
    sources = font_sources() if dataset == "glyphs" else [source_of(path) for path in paths]
    folder = Path(root) / name
    if _is_done(folder, sources, recipe):
        console.print(f"{folder} is already prepared from this source and intact; nothing to do.")
        return folder
    with ExitStack() as archives:
        splits = _read(recipe, paths, archives, console)
        record = _write(Path(root), name, splits, sources, recipe, console)
    _report(record, folder, console)
    return folder


def _check_arguments(dataset: str, paths: list[Path], split_file: str | None, image_size: int | None) -> None:
    """Compare the arguments with each other and with what is on disk."""
    if dataset not in _IMAGE_SIZE:
        raise PurerError(
            f"Expected a data set among {', '.join(_IMAGE_SIZE)}, but got '{dataset}'.{nearest(dataset, _IMAGE_SIZE)}"
        )
    if image_size is not None and image_size < 1:
        raise PurerError(f"Expected `image_size` to be at least 1, but got {image_size}.")
    if split_file and dataset != "folder":
        raise PurerError(
            f"Expected `split_file` for data sets of kind folder only, but got it for {dataset}: leave it out."
        )
    fewest, most = {"omniglot": (1, len(paths)), "glyphs": (0, 0)}.get(dataset, (1, 1))
    if not fewest <= len(paths) <= max(fewest, most):
        wanted = "no `--source`" if dataset == "glyphs" else "one `--source` (an archive or a folder)"
        raise PurerError(f"Expected {wanted} for {dataset}, but got {len(paths) or 'none'}.")
    for path in paths:
        if not path.exists():
            raise PurerError(
                f"Expected an archive or a folder at {path.absolute()}, but nothing is there: say by `--source` where "
                "it is."
            )


def _own_name(path: Path) -> str:
    """Return the name of a folder, or of an archive without its suffix."""
    path = path.resolve()
    return path.name if path.is_dir() else path.stem


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


def _read(recipe: dict[str, Any], paths: list[Path], archives: ExitStack, console: Console) -> Splits:
    """List every picture under its split and class. Nothing is decoded yet; archives stay open on the stack."""
    where = ", ".join(map(str, paths))
    if recipe["dataset"] == "glyphs":
        glyphs = glyph_pictures(recipe["images_per_class"], recipe["seed"])
        return arrange(glyphs, seeded_split(glyphs, recipe["fractions"], recipe["seed"]), "the fonts")
    if recipe["dataset"] == "cifar_fs":
        is_tar = paths[0].is_file() and not _begins_like_zip(paths[0])
        tree = read_cifar_tar(paths[0]) if is_tar else read_tree(archives.enter_context(open_pictures(paths[0])), where)
        return arrange_cifar_fs(tree, recipe["images_per_class"], where)
    files = [file for path in paths for file in archives.enter_context(open_pictures(path))]
    if recipe["dataset"] == "omniglot":
        drawings = read_omniglot(files, where)
        return arrange(drawings, seeded_split(drawings, recipe["fractions"], recipe["seed"]), where)
    tree = read_tree(files, where)
    for stray in tree.stray:
        console.print(f"Left out, for it lies in no class folder: {stray}")
    split = recipe.get("split") or tree.split or seeded_split(tree.classes, recipe["fractions"], recipe["seed"])
    return arrange(tree.classes, split, where)


def _begins_like_zip(file: Path) -> bool:
    """Tell a zip archive, whole or not, from a tar archive."""
    with file.open("rb") as stream:
        return stream.read(2) == b"PK"


def _write(
    root: Path, name: str, splits: Splits, sources: list[SourceFile], recipe: dict[str, Any], console: Console
) -> DatasetRecord:
    """Write the data set under a progress bar."""
    total = sum(len(pictures) for classes in splits.values() for pictures in classes.values())
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"Preparing {name}", total=total)
        writer = DatasetWriter(
            recipe["image_size"],
            recipe["channels"],
            skip_unreadable=recipe["dataset"] == "folder",
            advance=lambda: progress.advance(task),
        )
        return writer.write(root, name, splits, sources, recipe)


def _report(record: DatasetRecord, folder: Path, console: Console) -> None:
    for picture in record.skipped[:_NAMED]:
        console.print(f"Left out, for it cannot be read: {picture}")
    if record.skipped:
        console.print(
            f"{len(record.skipped)} unreadable pictures were left out; {folder / RECORD_FILE} names them all."
        )
    sizes = ", ".join(
        f"{name} {len(s.counts)} classes, {sum(s.counts):,} pictures" for name, s in record.splits.items()
    )
    console.print(f"{folder}: {sizes}.")
