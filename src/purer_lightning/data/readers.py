"""Readers of data sets: what is special about each, from its archives to splits, classes and pictures."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import PIL

from purer_lightning.data.archives import NO_PICTURE, SHOWN, LeftOut, PictureFile, open_pictures, say_left_out
from purer_lightning.data.cifar import arrange_cifar_fs, read_cifar_tar
from purer_lightning.data.folders import arrange, doubtful_names, read_tree, seeded_split
from purer_lightning.data.glyphs import font_sources, glyph_pictures
from purer_lightning.data.metadata import SourceFile, source_of
from purer_lightning.data.omniglot import read_omniglot
from purer_lightning.data.pictures import Classes, Splits
from purer_lightning.plugs import Registry, subclass_of


class Reader(ABC):
    """A data set in its publishers' layout.

    A reader of your own is a subclass without arguments: ``purer data prepare package.module.Reader --source ...``, or
    offered to others by an entry point of the group ``purer_lightning.readers``.

    Attributes:
        name: of the data set; None takes that of the source.
        image_size: height and width in pixels, unless the user wants others.
        channels: 1 or 3, likewise.
        images_per_class: that each class has or is given, likewise; None where it does not matter.
        sources: fewest and most archives or folders that are read; None for any number.
        is_split: whether the publishers say which classes are for training, validation and test. Else a split is drawn
            from ``seed`` and ``fractions``.
        takes_split_file: whether the user may say it, by ``split_file``.
        skips_unreadable: whether a picture that cannot be read is left out and named, rather than an error.
        hint: the arguments of ``purer data prepare`` beside ``--root``, for who has not prepared it.
    """

    name: ClassVar[str | None] = None
    image_size: ClassVar[int] = 84  # for one's own photos the literature's since Vinyals et al. 2016
    channels: ClassVar[int] = 3
    images_per_class: ClassVar[int | None] = None
    sources: ClassVar[tuple[int, int | None]] = (1, 1)
    is_split: ClassVar[bool] = False
    takes_split_file: ClassVar[bool] = False
    skips_unreadable: ClassVar[bool] = False
    hint: ClassVar[str] = ""

    def source_files(self, paths: Sequence[Path]) -> list[SourceFile]:
        """Return name and hash of everything that is read: by these a data set is known to be prepared already."""
        return [source_of(path) for path in paths]

    def recipe(self) -> dict[str, Any]:
        """Return what else decides the result, in plain types."""
        return {}

    @abstractmethod
    def read(
        self, paths: Sequence[Path], recipe: dict[str, Any], archives: ExitStack, say: Callable[[str], None]
    ) -> Splits:
        """List every picture under its split and class. Decode nothing yet.

        Args:
            paths: of the archives and folders; they exist.
            recipe: the settings: ``images_per_class``, ``seed`` and ``fractions``, ``split`` where a file says it.
            archives: keeps what is opened open until every picture has been written.
            say: prints a line for the user, such as on files that are left out.

        Raises:
            PurerError: it is not this data set, or not the whole of it.
        """


class CifarFs(Reader):
    """CIFAR-FS: see ``data.cifar``."""

    name, image_size, images_per_class, is_split = "cifar_fs", 32, 600, True
    hint = "cifar_fs --source cifar-100-python.tar.gz"

    def read(
        self, paths: Sequence[Path], recipe: dict[str, Any], archives: ExitStack, say: Callable[[str], None]
    ) -> Splits:
        """Read the zip, the tar archive of CIFAR-100, or a folder of class folders."""
        (path,) = paths
        if path.is_file() and not begins_like_zip(path):
            tree = read_cifar_tar(path)
        else:
            tree = read_tree(opened(paths, archives, say), str(path))
        return arrange_cifar_fs(tree, recipe["images_per_class"], str(path))


class Omniglot(Reader):
    """Omniglot: see ``data.omniglot``."""

    name, image_size, channels, sources = "omniglot", 28, 1, (1, None)
    hint = "omniglot --source images_background.zip"

    def read(
        self, paths: Sequence[Path], recipe: dict[str, Any], archives: ExitStack, say: Callable[[str], None]
    ) -> Splits:
        """Read one archive or several, whose drawings are pooled."""
        return at_random(read_omniglot(opened(paths, archives, say), listed(paths)), recipe, listed(paths))


class Folder(Reader):
    """Any folder or zip of class folders: see ``data.folders``."""

    takes_split_file = skips_unreadable = True

    def recipe(self) -> dict[str, Any]:
        """Return the version of the rules: 1 took 16 bits for granted, and Train/, Val/, Test/ for classes."""
        return {"version": 2}

    def read(
        self, paths: Sequence[Path], recipe: dict[str, Any], archives: ExitStack, say: Callable[[str], None]
    ) -> Splits:
        """Take the user's split, else that of folders train, val and test, else one at random."""
        given: dict[str, list[str]] | None = recipe.get("split")
        tree = read_tree(opened(paths, archives, say), listed(paths), in_splits=given is None)
        say_left_out({"it lies in no class folder": tree.stray} if tree.stray else {}, say)
        for sentence in doubtful_names(tree.classes):
            say(sentence)
        if given:
            named = {name for names in given.values() for name in names}
            if unused := [
                picture.where for name in sorted(set(tree.classes) - named) for picture in tree.classes[name]
            ]:
                say_left_out({"the split file does not name its class": unused}, say)
        if split := given or tree.split:
            return arrange(tree.classes, split, listed(paths))
        return at_random(tree.classes, recipe, listed(paths))


class Glyphs(Reader):
    """Characters rendered from fonts: see ``data.glyphs``."""

    name, image_size, images_per_class, sources, hint = "glyphs", 32, 60, (0, 0), "glyphs"

    def source_files(self, paths: Sequence[Path]) -> list[SourceFile]:
        """Return the fonts."""
        del paths
        return font_sources()

    def recipe(self) -> dict[str, Any]:
        """Return the version of Pillow, whose FreeType draws the characters."""
        return {"pillow": PIL.__version__}

    def read(
        self, paths: Sequence[Path], recipe: dict[str, Any], archives: ExitStack, say: Callable[[str], None]
    ) -> Splits:
        """Render every character."""
        del paths, archives, say
        return at_random(glyph_pictures(recipe["images_per_class"], recipe["seed"]), recipe, "the fonts")


READERS: Registry[type[Reader]] = Registry(
    "data sets",
    {"cifar_fs": CifarFs, "omniglot": Omniglot, "folder": Folder, "glyphs": Glyphs},
    subclass_of(Reader),  # type: ignore[type-abstract]  # mypy wants a class that can be made
    group="readers",
)


def at_random(classes: Classes, recipe: dict[str, Any], where: str) -> Splits:
    """Split classes by the recipe's seed and fractions."""
    return arrange(classes, seeded_split(classes, recipe["fractions"], recipe["seed"]), where)


def opened(paths: Sequence[Path], archives: ExitStack, say: Callable[[str], None]) -> list[PictureFile]:
    """Return the pictures of all archives and folders together; say which files are none."""
    left_out: LeftOut = {}
    files = [file for path in paths for file in archives.enter_context(open_pictures(path, left_out))]
    say_left_out(left_out, say)
    inside = {where.rpartition("/")[0] for where in left_out.get(NO_PICTURE, [])}
    if empty := sorted(inside - {file.picture.where.rpartition("/")[0] for file in files} - {""}):
        say(f"No picture is in the folders {', '.join(empty[:SHOWN])}{', ...' if empty[SHOWN:] else ''}.")
    return files


def listed(paths: Sequence[Path]) -> str:
    """Return the paths for a sentence."""
    return ", ".join(map(str, paths))


def begins_like_zip(file: Path) -> bool:
    """Tell a zip archive, whole or not, from a tar archive."""
    with file.open("rb") as stream:
        return stream.read(2) == b"PK"


def own_name(reader: Reader, key: str, paths: Sequence[Path]) -> str:
    """Return a data set's name: the reader's, else that of its source without a suffix, else the reader's key."""
    if reader.name or not paths:
        return reader.name or re.sub(r"\W", "_", key)
    path = paths[0].resolve()
    return path.name if path.is_dir() else path.stem
