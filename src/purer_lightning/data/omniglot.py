"""Omniglot (Lake et al. 2015) from its zip archives ``images_*.zip`` or the folders in them."""

from collections.abc import Sequence
from functools import partial

from PIL import Image, ImageOps

from purer_lightning.data.archives import PictureFile
from purer_lightning.data.pictures import Classes, Picture
from purer_lightning.errors import PurerError


def read_omniglot(files: Sequence[PictureFile], where: str) -> Classes:
    """Group drawings ``.../<Alphabet>/<character>/<file>.png`` by ``Alphabet/character``.

    The archives overlap: ``images_background_small1`` and ``_small2`` share 1,000 drawings of Greek and Latin. A
    drawing counts once, by alphabet, character and file name, or else support and query could share it.

    Args:
        files: of all archives together.
        where: the archives, for messages.

    Returns:
        Drawings by class, inverted so that strokes are bright on black, as is conventional.

    Raises:
        PurerError: no such files.
    """
    drawings = {file.parts[-3:]: file.picture for file in files if len(file.parts) >= 3}
    if not drawings:
        raise PurerError(
            f"Expected drawings <Alphabet>/<character>/<file>.png in {where}, but found none: give Omniglot's "
            "images_background.zip, images_evaluation.zip or both."
        )
    classes: Classes = {}
    for (alphabet, character, _), picture in sorted(drawings.items()):
        classes.setdefault(f"{alphabet}/{character}", []).append(picture._replace(load=partial(_inverted, picture)))
    return classes


def _inverted(drawing: Picture) -> Image.Image:
    return ImageOps.invert(drawing.load().convert("L"))
