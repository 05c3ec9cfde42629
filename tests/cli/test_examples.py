"""Pictures as files, to try ``purer adapt`` on."""

from pathlib import Path

import numpy as np
from PIL import Image

from picture_folders import small_dataset
from purer_lightning.cli.examples import CLASSES, QUERY, SUPPORT, write_examples
from purer_lightning.data.splits import open_split


def test_support_and_query_have_the_same_classes_and_no_picture_in_common(tmp_path: Path) -> None:
    split = open_split(small_dataset(tmp_path, classes=40, per_class=SUPPORT + QUERY + 3), "small", "test")
    write_examples(split, tmp_path / "pictures", seed=0)
    found = {
        part: {
            place.name: sorted(file.name for file in place.iterdir())
            for place in (tmp_path / "pictures" / part).iterdir()
        }
        for part in ("support", "query")
    }
    assert len(found["support"]) == CLASSES
    assert found["support"].keys() == found["query"].keys() <= set(split.class_names)
    for name, files in found["support"].items():
        assert (len(files), len(found["query"][name])) == (SUPPORT, QUERY)
        assert not set(files) & set(found["query"][name])
        of_class = split.of_class(split.class_names.index(name))
        written = np.asarray(Image.open(tmp_path / "pictures" / "support" / name / files[0]))
        assert (written == of_class[int(files[0].removesuffix(".png"))].permute(1, 2, 0).numpy()).all()
