"""Parts written as an outside package writes them, named in a configuration, run through ``main([...])``."""

import hashlib
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from test_front_door import column, fit, result, shrunk

from picture_folders import png
from plugins.head import NearestNeighbour
from plugins.objective import Focal
from purer_lightning.cli import main
from purer_lightning.data.readers import READERS
from purer_lightning.data.splits import open_split
from purer_lightning.episode import draw_plan
from purer_lightning.errors import PurerError
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.learners import FeatureClassifier, Maml
from purer_lightning.learners.heads import HEADS
from purer_lightning.learners.loading import make_learner
from purer_lightning.nets import NETWORKS
from purer_lightning.objectives import Episodic
from purer_lightning.plugs import Registry
from purer_lightning.pool.kinds import KINDS
from purer_lightning.report.sections import SECTIONS
from purer_lightning.seeding import generator

__all__ = ["shrunk"]  # a fixture


def test_a_learner_of_ones_own_trains_is_tested_and_adapts(tmp_path: Path, toy_data: Path, shrunk: list[str]) -> None:
    learner = ["--model.learner", "plugins.learner.Boil", "--model.learner.init_args.inner_lr", "0.1"]
    run = fit(tmp_path / "boil", shrunk, *learner, updates=4)
    main(["test", "--config", str(run / "config.yaml"), "--ckpt_path", "best", "--run", str(run)])
    assert 0 <= result(run / "test")["plain"]["mean"] <= 1
    support = tmp_path / "support"
    for name in ("class00", "class01"):
        (support / name).mkdir(parents=True)
        for shot in range(2):
            (support / name / f"{shot}.png").write_bytes((toy_data / "pictures" / name / f"{shot}.png").read_bytes())
    words = ["adapt", "--ckpt_path", str(run), "--support", str(support), "--query", str(support / "class00")]
    main([*words, "--learner", "plugins.learner.Boil", "--output", str(tmp_path / "predictions.csv")])
    assert "class00" in (tmp_path / "predictions.csv").read_text()


def test_the_head_of_boil_stays_and_its_body_moves() -> None:
    from plugins.learner import Boil

    learner = Boil("conv4", {"width": 4}, inner_lr=0.1)
    learner.build(3, 3, 16, seed=0)
    weights, images = learner.frozen_weights(), torch.randn(6, 3, 16, 16, generator=generator(0, "images"))
    fast = learner.adapt(weights, images, torch.arange(3).repeat(2))
    moved = {name.split(".")[0] for name in weights if not torch.equal(fast[name], weights[name])}
    assert moved == {"blocks"}


def test_an_objective_of_ones_own_trains(tmp_path: Path, shrunk: list[str]) -> None:
    run = fit(tmp_path / "focal", shrunk, "--model.objective", "plugins.objective.Focal", updates=4)
    assert all(math.isfinite(loss) for loss in column(run, "train/outer_loss"))


@pytest.mark.parametrize("second_order", [False, True])
def test_a_focus_of_0_is_the_cross_entropy_of_the_episodes(second_order: bool) -> None:
    learner = Maml("conv4", {"width": 4}, inner_lr=0.1)
    learner.build(3, 3, 16, seed=0)
    bank = ImageBank.drawn(["a", "b", "c", "d"], 4, 3, 16, seed=0)
    plan = draw_plan(bank.counts, 2, 3, 1, 2, 0, generator(0, "plan"))
    outcomes = [
        objective.outcome(learner, learner.weights(), bank, plan, second_order=second_order)
        for objective in (Focal(focus=0.0), Episodic())
    ]
    assert torch.allclose(outcomes[0].loss, outcomes[1].loss)
    assert torch.equal(outcomes[0].accuracy, outcomes[1].accuracy)
    assert Focal(2.0).outcome(learner, learner.weights(), bank, plan, second_order=second_order).loss < outcomes[0].loss


def test_a_network_of_ones_own_is_teacher_and_meta_model(
    tmp_path: Path, toy_data: Path, shrunk: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NETWORKS, "named", {})
    pool, name = tmp_path / "pool", "plugins.network.Small"
    words = ["--dataset", "toy", "--root", str(toy_data), "--teachers", "2", "--way", "3", "--epochs", "1"]
    main(["pretrain", *words, "--pool", str(pool), "--architectures", f"[{name}]"])
    own = ["--data.pool", str(pool), "--data.networks", f"[{name}]", "--model.learner.init_args.architecture", name]
    run = fit(tmp_path / "run", shrunk, *own, updates=4)
    monkeypatch.setattr(NETWORKS, "named", {})  # as in another process
    with pytest.raises(SystemExit):
        main(["pool", "check", str(pool)])
    main(["pool", "check", str(pool), "--networks", f"[{name}]"])
    monkeypatch.setattr(NETWORKS, "named", {})
    pictures = ["--support", str(toy_data / "pictures"), "--export", str(tmp_path / "model.safetensors")]
    with pytest.raises(SystemExit):
        main(["adapt", "--ckpt_path", str(run), *pictures])
    main(["adapt", "--ckpt_path", str(run), *pictures, "--network", name])
    assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.parametrize("command", ["fit", "test"])
@pytest.mark.parametrize(
    "learner",
    [
        {"class_path": "plugins.network.Small"},
        {"class_path": "purer_lightning.learners.Maml", "init_args": {"architecture": "plugins.network.Small"}},
    ],
)
def test_a_checkpoint_never_names_code_to_import_nor_changes_a_setting(
    learner: dict[str, Any], command: str, tmp_path: Path, shrunk: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NETWORKS, "named", {})
    monkeypatch.delitem(sys.modules, "plugins.network", raising=False)
    run = fit(tmp_path / "run", shrunk, updates=4)
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    checkpoint["hyper_parameters"] = {"learner": learner, "meta_lr": 0.5}
    torch.save(checkpoint, tmp_path / "theirs.ckpt")
    words = ["--config", str(run / "config.yaml"), "--ckpt_path", str(tmp_path / "theirs.ckpt")]
    main([command, *words, "--run", str(tmp_path / "other")])
    assert "plugins.network" not in sys.modules
    folder = tmp_path / "other" if command == "fit" else tmp_path / "other" / "test"
    assert "meta_lr: 0.5" not in (folder / "config.yaml").read_text()


def test_a_pool_never_names_a_network_to_import(
    tmp_path: Path, toy_pool: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(NETWORKS, "named", {})
    monkeypatch.delitem(sys.modules, "plugins.network", raising=False)
    shutil.copytree(toy_pool, tmp_path / "pool")
    manifest = tmp_path / "pool" / "pool.json"
    manifest.write_text(manifest.read_text().replace('"conv4"', '"plugins.network.Small"'))
    with pytest.raises(SystemExit):
        main(["pool", "check", str(tmp_path / "pool")])
    assert "plugins.network" not in sys.modules
    assert "but got 'plugins.network.Small'" in " ".join(capsys.readouterr().err.split())


def test_a_head_of_ones_own_scores_a_teachers_features(
    tmp_path: Path, shrunk: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HEADS, "named", {})
    toy = [word for word in shrunk if not word.startswith("--data.episodes")]
    pool = shrunk[shrunk.index("--data.pool") + 1]
    words = ["--config", "demo.yaml", "--config", "baselines/teacher_centroid.yaml", *toy]
    words += ["--model.learner.init_args.pool", pool, "--model.learner.init_args.head", "plugins.head.NearestNeighbour"]
    main(["test", *[word for word in words if word != "2"], "--run", str(tmp_path)])
    assert 0.3 < result(tmp_path / "test")["plain"]["mean"] <= 1
    description = json.loads((tmp_path / "test" / "results.json").read_text())["meta_model"]
    assert description["head"] == "plugins.head.NearestNeighbour"
    assert "regularisation" not in description


def test_a_head_of_ones_own_is_made_again_from_a_checkpoint_only_when_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(HEADS, "named", {})
    settings = {"head": "plugins.head.NearestNeighbour"}
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "plugins.head", raising=False)
        with pytest.raises(PurerError, match=r"one of the heads .*, but got 'plugins\.head\.NearestNeighbour'"):
            make_learner("FeatureClassifier", settings)
        assert "plugins.head" not in sys.modules
    HEADS.name(settings["head"], "--head")
    learner = make_learner("FeatureClassifier", settings)
    assert learner.settings() == FeatureClassifier(head=settings["head"]).settings()
    assert learner.settings()["head"] == settings["head"]


@pytest.mark.parametrize(
    ("registry", "group", "part"),
    [
        (NETWORKS, "networks", "plugins.network:Small"),
        (HEADS, "heads", "plugins.head:NearestNeighbour"),
        (KINDS, "teachers", "plugins.teacher_kind:LinearText"),
    ],
    ids=["network", "head", "kind of teacher"],
)
def test_an_installed_package_offers_its_parts_by_a_short_name(
    registry: Registry[Any], group: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a_package-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: a-package\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        f"[purer_lightning.{group}]\ntheirs = {part}\nother = pathlib:sep\n"  # a string: no part at all
    )
    with pytest.raises(PurerError, match="but got 'theirs'"):
        registry.find("theirs")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.find("theirs").__name__ == part.partition(":")[2]
    with pytest.raises(PurerError, match="'other', which a-package offers"):
        registry.find("other")


def test_a_nearest_neighbour_has_the_label_of_the_most_similar_picture() -> None:
    support = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.6, 0.8], [-1.0, 0.0]])
    head = NearestNeighbour()
    state = head.fit(support, torch.tensor([0, 1, 0, 2]), way=3)
    found = head.logits(torch.tensor([[3.0, 4.0], [0.0, 1.0], [-2.0, 0.1]]), state)
    torch.testing.assert_close(found[0], torch.tensor([1.0, 0.8, -0.6]))
    assert found.argmax(dim=1).tolist() == [0, 1, 2]


def write_linear_pool(folder: Path, toy_pool: Path) -> None:
    """Write a pool of two teachers of plugins.teacher_kind.LinearText, of classes that the toy pool knows."""
    content = json.loads((toy_pool / "pool.json").read_text())
    size = content["channels"] * content["image_size"] ** 2
    folder.mkdir()
    content["teachers"] = content["teachers"][:2]
    for number, teacher in enumerate(content["teachers"]):
        rows = (0.02 * torch.randn(len(teacher["class_ids"]), size, generator=generator(number, "rows"))).tolist()
        (folder / f"{number}.json").write_text(json.dumps(rows))
        teacher |= {"kind": "plugins.teacher_kind.LinearText", "file": f"{number}.json"}
        teacher["sha256"] = hashlib.sha256((folder / f"{number}.json").read_bytes()).hexdigest()
    (folder / "pool.json").write_text(json.dumps(content))


@pytest.mark.filterwarnings("ignore:No BatchNorm")  # which they have not
def test_a_kind_of_teacher_of_ones_own_is_inverted_and_never_imported_unasked(
    tmp_path: Path,
    toy_pool: Path,
    shrunk: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(KINDS, "named", {})
    monkeypatch.delitem(sys.modules, "plugins.teacher_kind", raising=False)
    write_linear_pool(tmp_path / "pool", toy_pool)
    with pytest.raises(SystemExit):
        main(["pool", "check", str(tmp_path / "pool")])
    assert "but got 'plugins.teacher_kind.LinearText'" in " ".join(capsys.readouterr().err.split())
    assert "plugins.teacher_kind" not in sys.modules
    main(["pool", "check", str(tmp_path / "pool"), "--teacher_kinds", "[plugins.teacher_kind.LinearText]"])
    own = ["--data.pool", str(tmp_path / "pool"), "--data.teacher_kinds", "[plugins.teacher_kind.LinearText]"]
    own += ["--model.curriculum.enabled", "false"]
    run = fit(tmp_path / "run", shrunk, *own, updates=8)
    assert len(set(column(run, "inversion/total"))) == 8  # the images move
    resident = fit(tmp_path / "resident", shrunk, *own, "--data.resident_teachers", "1", updates=8)
    assert column(resident, "inversion/total") == column(run, "inversion/total")


def test_a_reader_of_ones_own_prepares_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(READERS, "named", {})
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("ant", "bee", "newt", "yak"):
        for number in range(2):
            (pictures / f"{name}-{number}.png").write_bytes(png((40 * number, 9, 99)))
    (pictures / "cover.png").write_bytes(png((1, 2, 3)))
    words = ["--source", str(pictures), "--root", str(tmp_path / "data"), "--name", "animals"]
    main(["data", "prepare", "plugins.reader.ByFileName", *words])
    assert "its name has no hyphen: cover.png" in " ".join(capsys.readouterr().err.split())
    splits = {split: open_split(tmp_path / "data", "animals", split) for split in ("train", "val", "test")}
    assert {name: split.class_names for name, split in splits.items()} == {
        "train": ("ant", "bee"),
        "val": ("newt",),
        "test": ("yak",),
    }
    assert splits["train"].images.shape == (4, 3, 16, 16)
    with pytest.raises(SystemExit):
        main(["data", "prepare", "plugins.reader.Nothing", *words])
    assert "cannot be imported" in capsys.readouterr().err


def test_a_section_of_ones_own_stands_in_the_report(
    tmp_path: Path, shrunk: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(SECTIONS, "named", {})
    run = fit(tmp_path / "run", shrunk, updates=8)
    main(["report", str(run), "--sections", "[plugins.report_section.Pace]"])
    page = (run / "report.html").read_text()
    assert page.index('id="results"') < page.index('id="pace"')
    assert "<td>8</td>" in page[page.index('id="pace"') :]
    with pytest.raises(SystemExit):
        main(["report", str(run), "--sections", "[pace]"])
    assert "Expected one of the sections" in capsys.readouterr().err
