"""A prior, a synthesis and an image source of an outside package, each through ``main(["fit", ...])`` with its YAML."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from test_front_door import column, fit, rows, shrunk

from cli_errors import complaint
from plugins.image_source import ColouredNoise
from plugins.prior import Contrast
from plugins.synthesis import MetaGenerator
from purer_lightning.adaptation.model_card import origin_of
from purer_lightning.callbacks import SynthesisCallback
from purer_lightning.cli import main
from purer_lightning.errors import PurerError
from purer_lightning.inversion.gradient import ClassTeacher, inversion_gradient
from purer_lightning.inversion.priors import InversionSettings, InversionWeights, Prior, Seen
from purer_lightning.inversion.synthesis import RealImages, SynthesisTask
from purer_lightning.pool.teachers import load_pool
from purer_lightning.running.provenance import provenance_of
from purer_lightning.training.judge import UpdateJudge

__all__ = ["shrunk"]  # a fixture

PRIOR = {"model": {"inversion": {"further": [{"class_path": "plugins.prior.Contrast", "init_args": {"weight": 2.0}}]}}}
GENERATOR = {
    "synthesis": {
        "initial_steps": 2,
        "method": {"class_path": "plugins.synthesis.MetaGenerator", "init_args": {"inner_lr": 0.03, "width": 8}},
    }
}
SOURCE = {
    "model": {
        "objective": {
            "init_args": {"source": {"class_path": "plugins.image_source.ColouredNoise", "init_args": {"slope": 1.5}}}
        }
    }
}


def written(folder: Path, settings: dict[str, Any]) -> list[str]:
    """Return flags that lay these settings over the others."""
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(settings))
    return ["--config", str(file)]


def state(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return content


def assert_resumes(whole: Path, half: Path, shrunk: list[str], *flags: str, updates: int, config: str) -> None:
    """Run half of a run and go on; compare with the whole one to the bit."""
    fit(half, shrunk, *flags, updates=updates // 2, config=config)
    fit(half, shrunk, *flags, "--ckpt_path", "last", updates=updates, config=config)
    for part in ("state_dict", "curriculum", "global_step"):
        torch.testing.assert_close(state(half)[part], state(whole)[part], rtol=0, atol=0)
    images = [state(run)["callbacks"]["SynthesisCallback"]["images"] for run in (half, whole)]
    assert torch.equal(*images)
    assert (half / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


def test_a_prior_of_ones_own_has_its_curve_and_its_panel_and_changes_the_images(
    tmp_path: Path, shrunk: list[str]
) -> None:
    flags = written(tmp_path, PRIOR)
    run = fit(tmp_path / "run", shrunk, *flags, updates=8)
    names = ("class", "total_variation", "l2", "feature", "contrast", "total")
    own = yaml.safe_load((run / "config.yaml").read_text())["model"]["inversion"]
    curves = {name: column(run, f"inversion/{name}") for name in names}
    assert len(curves["contrast"]) == 8
    for values in zip(*(curves[name] for name in names), strict=True):
        weights = (1.0, own["total_variation"], own["l2"], own["feature"], 2.0)
        assert values[-1] == pytest.approx(sum(w * v for w, v in zip(weights, values, strict=False)), rel=1e-5)
    without = fit(tmp_path / "without", shrunk, updates=8)
    assert curves["class"][-1] != column(without, "inversion/class")[-1]
    assert_resumes(run, tmp_path / "half", shrunk, *flags, updates=8, config="demo.yaml")
    main(["report", str(run), "--output", str(tmp_path / "report.html")])
    page = (tmp_path / "report.html").read_text()
    assert 'id="inversion-contrast"' in page
    assert "contrast: a further prior of the run" in page.replace("</strong>", "")


def test_contrast_pulls_flat_images_apart_and_leaves_others() -> None:
    flat = (0.1 * torch.randn(4, 3, 8, 8)).requires_grad_()
    seen = Seen(flat, torch.zeros(4, dtype=torch.int64), torch.zeros(4, 2))
    term = Contrast(1.0)(seen)
    (gradient,) = torch.autograd.grad(term, flat)
    assert Contrast.name == "contrast"
    assert (flat - gradient).std() > flat.std()
    assert Contrast(1.0)(Seen(30 * flat, seen.labels, seen.logits)).item() == 0


class Named(Prior):
    """A prior whose name is not its class's."""

    name = "l2"

    def __call__(self, seen: Seen) -> torch.Tensor:
        return seen.images.sum()


@pytest.mark.parametrize(
    ("priors", "message"),
    [([Named(1.0)], "is called 'l2', as another term is"), ([Contrast(-1.0)], "inversion.contrast to be 0 or more")],
)
def test_priors_that_cannot_be_told_apart_or_weighed_are_refused(priors: list[Prior], message: str) -> None:
    with pytest.raises(PurerError, match=message):
        InversionSettings(further=priors).priors()


def test_a_generator_makes_the_images_of_a_run_and_resumes_with_the_same_bits(
    tmp_path: Path, shrunk: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = written(tmp_path, GENERATOR)
    run = fit(tmp_path / "run", shrunk, *flags, updates=8)
    totals = column(run, "inversion/total")
    assert len(totals) == 8
    assert totals[-1] < 0.9 * totals[0]
    assert (run / "pseudo_images.png").stat().st_size > 0
    kept = state(run)["callbacks"]["SynthesisCallback"]
    assert kept["source"] == "plugins.synthesis.MetaGenerator"
    assert state(run)["global_step"] == 8
    assert [row["step"] for row in rows(run) if row["train/accuracy"]] == [str(number) for number in range(8)]
    main(["report", str(run), "--output", str(tmp_path / "report.html")])
    assert "images by MetaGenerator" in (tmp_path / "report.html").read_text()
    assert_resumes(run, tmp_path / "half", shrunk, *flags, updates=8, config="demo.yaml")
    capsys.readouterr()
    words = ["fit", "--config", "demo.yaml", *shrunk, "--run", str(run), "--ckpt_path", "last"]
    with pytest.raises(SystemExit):
        main([*words, "--trainer.max_steps", "9"])
    said = capsys.readouterr().err
    assert "had synthesis.source 'plugins.synthesis.MetaGenerator', but this one has 'pool'" in said


def test_a_model_card_names_a_synthesis_of_ones_own() -> None:
    method = GENERATOR["synthesis"]["method"]
    said = provenance_of(Path("run/checkpoints/last.ckpt"), {"synthesis": {"source": "pool", "method": method}}, 1)
    assert "images that `plugins.synthesis.MetaGenerator` made" in origin_of(said["images"])


def test_the_real_images_cannot_pass_for_a_method_of_ones_own() -> None:
    with pytest.raises(PurerError, match=r"set synthesis.source to real"):
        SynthesisCallback(method=RealImages())


def test_a_source_that_does_not_exist_is_met_with_the_nearest(
    tmp_path: Path, shrunk: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "--config", "demo.yaml", *shrunk, "--synthesis.source", "reel", "--run", str(tmp_path / "run")]
    said = complaint(capsys, words)
    assert "Expected one of the syntheses pool, real, but got 'reel'. Did you mean 'real'?" in said


def test_a_source_beside_a_method_is_refused(
    tmp_path: Path, shrunk: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "--config", "demo.yaml", *shrunk, *written(tmp_path, GENERATOR), "--run", str(tmp_path / "run")]
    assert "leave one of them out" in complaint(capsys, [*words, "--synthesis.source", "real"])


class TooFew(MetaGenerator):
    """Forgets that an episode needs shot + query images of a class."""

    def setup(self, task: SynthesisTask) -> None:
        super().setup(replace(task, images_per_class=1))


def test_a_synthesis_that_makes_other_images_than_were_asked_for_is_refused(
    tmp_path: Path, shrunk: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "--config", "demo.yaml", *shrunk, "--run", str(tmp_path / "run")]
    said = complaint(capsys, [*words, "--synthesis.method", f"{__name__}.TooFew"])
    assert "Expected TooFew.setup to make a bank of images (8, 4, 3, 16, 16)" in said
    assert "but got (8, 1, 3, 16, 16)" in said


def judge_of(teachers: list[ClassTeacher], update: int) -> UpdateJudge:
    gradient = partial(inversion_gradient, jitter=(0, 0), priors=InversionWeights().priors())
    classes = torch.tensor(sorted({known for teacher in teachers for known in teacher.classes.tolist()}))
    return UpdateJudge(update, teachers, classes, gradient)


def test_the_generator_learns_from_some_teachers_what_helps_with_another(toy_pool: Path) -> None:
    pool = load_pool(toy_pool)
    teachers: list[ClassTeacher] = list(pool.teachers)
    losses = []
    for updates in (0, 30):
        synthesis = MetaGenerator(inner_steps=2, inner_lr=0.03)
        synthesis.setup(SynthesisTask(pool, 4, 1, 3, seed=0, rate=0.1))
        pool.to(synthesis.bank.images)
        for update in range(updates):
            synthesis.move(judge_of(teachers[:2], update))
        losses.append(synthesis.move(judge_of(teachers[2:], updates))["total"].item())
    assert losses[1] < 0.85 * losses[0]


def test_an_image_source_of_ones_own_takes_the_place_of_dead_leaves(tmp_path: Path, shrunk: list[str]) -> None:
    constant = ["--model.meta_schedule", "constant"]
    student = [*constant, "--model.learner.init_args.outputs", "9", "--model.objective.init_args.batch_size", "4"]
    flags = [*student, "--synthesis.initial_steps", "1", *written(tmp_path, SOURCE)]
    run = fit(tmp_path / "run", shrunk, *flags, config="cifar_fs_distill.yaml", updates=8)
    leaves = fit(tmp_path / "leaves", shrunk, *flags[:-2], config="cifar_fs_distill.yaml", updates=8)
    assert column(run, "train/outer_loss") != column(leaves, "train/outer_loss")
    assert "plugins.image_source.ColouredNoise" in (run / "config.yaml").read_text()
    assert_resumes(run, tmp_path / "half", shrunk, *flags, updates=8, config="cifar_fs_distill.yaml")


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_coloured_noise_has_variance_1_and_the_slope_that_was_asked_for(slope: float) -> None:
    draw = partial(ColouredNoise(slope).draw, 64, 3, 32)
    images = draw(torch.Generator().manual_seed(0))
    assert images.shape == (64, 3, 32, 32)
    assert torch.equal(images, draw(torch.Generator().manual_seed(0)))
    torch.testing.assert_close(images.var(dim=(1, 2, 3)), torch.ones(64), rtol=1e-4, atol=0)
    amplitude = torch.fft.rfft2(images).abs().mean(dim=(0, 1))[0]
    measured = (amplitude[2] / amplitude[8]).log() / torch.tensor(4.0).log()
    assert measured.item() == pytest.approx(slope, abs=0.1)
