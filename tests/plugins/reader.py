"""A data set whose files are called ``<class>-<number>.png``, and whose publishers split its classes by letter."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from purer_lightning.data.folders import arrange
from purer_lightning.data.pictures import Classes, Splits
from purer_lightning.data.readers import Reader, listed, opened
from purer_lightning.errors import PurerError


class ByFileName(Reader):
    """Classes a to m are for training, n to s for validation, the others for test."""

    image_size, is_split = 16, True

    def read(
        self, paths: Sequence[Path], recipe: dict[str, Any], archives: ExitStack, say: Callable[[str], None]
    ) -> Splits:
        """Group the pictures by what stands before the hyphen."""
        del recipe
        classes: Classes = {}
        for file in opened(paths, archives, say):
            name, hyphen, _ = file.parts[-1].partition("-")
            if hyphen:
                classes.setdefault(name, []).append(file.picture)
            else:
                say(f"Left out, for its name has no hyphen: {file.parts[-1]}")
        if not classes:
            raise PurerError(f"Expected pictures <class>-<number>.png in {listed(paths)}, but found none.")
        split: dict[str, list[str]] = {"train": [], "val": [], "test": []}
        for name in sorted(classes):
            split["train" if name[0] <= "m" else "val" if name[0] <= "s" else "test"].append(name)
        return arrange(classes, split, listed(paths))
