"""``purer adapt`` from the front door: folders of pictures in, a CSV and a summary out, or one sentence and nothing."""

import csv
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import pytest
import torch
from PIL import Image

from cli_errors import complaint
from purer_lightning.adaptation.classifier import load_adapted
from purer_lightning.adaptation.meta_model import load
from purer_lightning.cli import main
from purer_lightning.errors import PurerError
from purer_lightning.files import check_writable
from purer_lightning.learners import FeatureClassifier, Maml
from runs import GREY, WIDTH, built, write_glyphs, write_run

CLASSES = {"digit two": 3, "heart": 1, "airplane": 4}
QUERY = {"digit two": 4, "heart": 4, "airplane": 4}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of an untrained meta-model for grey pictures."""
    learner = FeatureClassifier("conv4", {"width": 16}, "euclidean", batchnorm="support")
    return write_run(tmp_path / "run", built(learner, channels=1), GREY)


@pytest.fixture
def words(run: Path, tmp_path: Path) -> list[str]:
    support, query = write_glyphs(tmp_path / "support", CLASSES), write_glyphs(tmp_path / "query", QUERY, first=10)
    command = ["adapt", "--ckpt_path", str(run), "--support", str(support), "--query", str(query)]
    return [*command, "--output", str(tmp_path / "out" / "predictions.csv")]


def rows(tmp_path: Path) -> list[dict[str, str]]:
    with (tmp_path / "out" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_picture_gets_a_label_with_its_probability_and_the_summary_an_accuracy(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(words)
    found = rows(tmp_path)
    assert [row["picture"] for row in found] == sorted(str(path) for path in (tmp_path / "query").rglob("*.png"))
    assert {row["label"] for row in found} <= set(CLASSES)
    assert all(0.333 <= float(row["probability"]) <= 1 for row in found)
    right = sum(row["label"] == row["folder"] for row in found)
    said = capsys.readouterr().out
    assert f"Accuracy: {100 * right / 12:.1f} % ({right} of the 12 pictures" in said
    assert "3 classes, learnt from 8 pictures" in said
    table = [line.strip("│ ").split("│") for line in said.splitlines() if line.startswith("│")]
    assert {cells[0].strip(): int(cells[1]) for cells in table} == CLASSES


def test_the_command_says_what_python_says(words: list[str], run: Path, tmp_path: Path) -> None:
    main(words)
    model = load(run)
    support = sorted((tmp_path / "support").rglob("*.png"))
    classifier = model.adapt(model.read(support), [path.parent.name for path in support])
    found = rows(tmp_path)
    probabilities = classifier.predict(model.read([row["picture"] for row in found]))
    assert [row["label"] for row in found] == [classifier.class_names[n] for n in probabilities.argmax(dim=1)]
    expected = torch.tensor([float(row["probability"]) for row in found])
    assert torch.allclose(probabilities.max(dim=1).values, expected, atol=1e-5)


def test_files_and_folders_may_be_named_in_any_mixture(words: list[str], tmp_path: Path) -> None:
    flags = words[: words.index("--query")] + words[words.index("--output") :]
    one, folder = tmp_path / "query" / "heart" / "10.png", tmp_path / "query" / "airplane"
    main([*flags, "--query", str(one), str(folder)])
    assert [row["picture"] for row in rows(tmp_path)] == [str(one), *(str(folder / f"{n}.png") for n in range(10, 14))]


def test_pictures_in_folders_of_no_class_are_labelled_and_not_counted(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "query" / "heart").rename(tmp_path / "query" / "unsorted")
    main(words)
    said = capsys.readouterr().out
    assert "of the 8 pictures" in said
    assert "Not counted, for no class has the name of their folder: 4 pictures, in 'unsorted'." in said
    assert {row["folder"] for row in rows(tmp_path)} == {"digit two", "airplane", "unsorted"}


def test_pictures_learnt_from_prove_nothing(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*words, "--query", str(tmp_path / "support")])
    assert "of the 12 pictures" in capsys.readouterr().out
    assert len(rows(tmp_path)) == 20


def test_copies_of_what_was_learnt_from_prove_nothing_whatever_their_names_and_formats(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "query" / "heart" / "copy.png").write_bytes((tmp_path / "support" / "heart" / "0.png").read_bytes())
    Image.open(tmp_path / "support" / "airplane" / "0.png").save(tmp_path / "query" / "airplane" / "again.bmp")
    main(words)
    said = capsys.readouterr().out
    assert "of the 12 pictures" in said
    assert "Not counted, for they are pictures learnt from or copies of them: 2, such as" in said
    assert len(rows(tmp_path)) == 14


def test_one_picture_in_two_support_classes_is_told_of(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = (tmp_path / "support" / "heart" / "0.png").read_bytes()
    (tmp_path / "support" / "airplane" / "heart.png").write_bytes(picture)
    main(words)
    assert "1 with the same pixels in more than one class" in capsys.readouterr().err


def test_folders_of_one_name_in_two_normal_forms_are_one_class(words: list[str], tmp_path: Path) -> None:
    composed, decomposed = (normalize(form, "Café") for form in ("NFC", "NFD"))
    (tmp_path / "support" / "heart").rename(tmp_path / "support" / decomposed)
    (tmp_path / "query" / "heart").rename(tmp_path / "query" / composed)
    main(words)
    assert {row["folder"] for row in rows(tmp_path)} == {"digit two", "airplane", composed}
    assert {row["label"] for row in rows(tmp_path)} <= {"digit two", "airplane", composed}


def test_photos_of_any_size_and_colour_serve_a_meta_model_for_small_grey_ones(words: list[str], tmp_path: Path) -> None:
    for path in (tmp_path / "query").rglob("*.png"):
        Image.open(path).convert("RGB").resize((200, 300)).save(path.with_suffix(".jpg"))
        path.unlink()
    main(words)
    assert len(rows(tmp_path)) == 12


def test_damaged_pictures_are_named_skipped_and_counted(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "support" / "airplane" / "0.png").write_bytes(b"damaged")
    for name in ("10.png", "11.png"):
        (tmp_path / "query" / "heart" / name).write_bytes(b"")
    (tmp_path / "support" / "airplane" / "9.heic").touch()
    main(words)
    said = capsys.readouterr()
    assert "has such a suffix: 1 files, such as '9.heic'" in said.err
    assert f"Skipped, for it cannot be read: {tmp_path / 'support' / 'airplane' / '0.png'} (not a picture" in said.err
    assert "1 of the support pictures could not be read" in said.err
    assert "2 of the query pictures could not be read" in said.err
    assert "learnt from 7 pictures" in said.out
    assert len(rows(tmp_path)) == 10


def test_pictures_beside_the_class_folders_are_told_of(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("heart", "airplane"):
        (tmp_path / "support" / name / "0.png").rename(tmp_path / "support" / f"{name}.png")
    write_glyphs(tmp_path / "support", {"heart": 1})
    main(words)
    said = capsys.readouterr()
    assert "support', for they lie in no class's folder: 2 pictures, such as 'airplane.png'." in said.err
    assert "learnt from 7 pictures" in said.out


def test_the_classifier_is_exported_beside_or_instead_of_predictions(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "model.safetensors"
    main([*words[: words.index("--query")], "--export", str(file)])
    assert f"Written: {file}" in capsys.readouterr().out
    assert load_adapted(file).class_names == ("airplane", "digit two", "heart")
    assert not (tmp_path / "out").exists()


def test_a_saved_pretrained_folder_is_as_good_as_its_run(words: list[str], run: Path, tmp_path: Path) -> None:
    main(words)
    before = rows(tmp_path)
    load(run).save_pretrained(tmp_path / "saved")
    main([*words, "--ckpt_path", str(tmp_path / "saved")])
    assert rows(tmp_path) == before


def test_an_export_that_cannot_be_is_refused_before_the_work(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file, expected in (
        (str(tmp_path / "model.pt"), "export to end in .onnx"),
        (str(tmp_path / "run"), "export to end in .onnx"),
    ):
        assert expected in complaint(capsys, [*words, "--export", file])
    (tmp_path / "model.onnx").mkdir()
    assert "it is a folder" in complaint(capsys, [*words, "--export", str(tmp_path / "model.onnx")])
    files = [str(tmp_path / "new" / name) for name in ("model.safetensors", "model.onnx")]
    pytest.importorskip("onnxruntime")
    assert "no function of a picture" in complaint(capsys, [*words, "--batchnorm", "transductive", "--export", *files])
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "out").exists()


def test_ctrl_c_is_one_line(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pressed.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert complaint(capsys, [*words, "--learner", "pressed.Learner"], status=130) == "purer: stopped by Ctrl-C."
    assert not (tmp_path / "out").exists()


def test_icfil_is_a_flag(tmp_path: Path, words: list[str]) -> None:
    run = write_run(tmp_path / "maml", built(Maml("conv4", WIDTH, inner_lr=0.1), channels=1), GREY)
    probabilities = []
    for flag in ("false", "true"):
        main([*words, "--ckpt_path", str(run), "--icfil", flag])
        probabilities.append([row["probability"] for row in rows(tmp_path)])
    assert probabilities[0] != probabilities[1]


def test_ones_own_learner_is_named_on_the_command_line(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "their_learners.py").write_text("from purer_lightning.learners import Maml\nclass Theirs(Maml): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    from their_learners import Theirs  # type: ignore[import-not-found]

    run = write_run(tmp_path / "theirs", built(Theirs("conv4", WIDTH), channels=1), GREY)
    assert "--learner package.module.Theirs" in complaint(capsys, [*words, "--ckpt_path", str(run)])
    main([*words, "--ckpt_path", str(run), "--learner", "their_learners.Theirs"])
    assert len(rows(tmp_path)) == 12


def damage(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        path.write_bytes(b"damaged")


def move(path: Path) -> None:
    path.rename(path.parent / "moved")


def empty(folder: Path) -> None:
    move(folder)
    folder.mkdir()


# Each makes one thing wrong with what ``words`` names.
SPOILT: dict[str, Callable[[Path], object]] = {
    "no readable picture in a class": lambda here: damage(here / "support" / "heart"),
    "an empty class": lambda here: (here / "support" / "empty").mkdir(),
    "one class": lambda here: [(here / "support" / name).rename(here / name) for name in ("heart", "airplane")],
    "no support": lambda here: move(here / "support"),
    "no checkpoint": lambda here: (here / "run" / "checkpoints" / "best.ckpt").unlink(),
    "no run": lambda here: move(here / "run"),
    "a query without pictures": lambda here: empty(here / "query"),
    "unreadable queries": lambda here: damage(here / "query"),
    "no place for the output": lambda here: (here / "out").touch(),
    "a folder in the output's place": lambda here: (here / "out" / "predictions.csv").mkdir(parents=True),
}


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("no readable picture in a class", "readable picture of class 'heart'"),
        ("an empty class", "readable picture of class 'empty'"),
        ("one class", "at least 2 class folders"),
        ("no support", "--support to be a folder"),
        ("no checkpoint", "has neither"),
        ("no run", "--ckpt_path"),
        ("a query without pictures", "--query"),
        ("unreadable queries", "none of the 12 in --query can be read"),
        ("no place for the output", "Cannot write"),
        ("a folder in the output's place", "it is a folder"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing_behind(
    what: str, expected: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    SPOILT[what](tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert expected in complaint(capsys, words)
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_to_do_is_said(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "--query" in complaint(capsys, words[: words.index("--query")])


def test_a_misspelt_flag_names_the_nearest(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'support'?" in complaint(capsys, [*words, "--suport", "x"], status=2)


def test_whether_a_file_can_be_written_is_found_out_without_a_trace(tmp_path: Path) -> None:
    check_writable([tmp_path / "a" / "b" / "c.csv"])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(PurerError, match=r"Cannot write '.*file.c\.csv'"):
        check_writable([tmp_path / "file" / "c.csv"])
