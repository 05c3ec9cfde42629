"""bfloat16 where it may be, float32 where it must be."""

import copy
import csv
from pathlib import Path

import pytest
import torch

from purer_lightning.cli import main
from purer_lightning.compute.precision import SCALES, full_precision, gradients
from purer_lightning.evaluation.metrics import interval
from purer_lightning.learners.maml import Maml
from purer_lightning.nets import NetworkSpec
from purer_lightning.nets.functional import features, logits, run
from purer_lightning.objectives.episodic import outer_loop


def test_feature_statistics_logits_and_features_are_float32_under_autocast() -> None:
    network = NetworkSpec("conv4", 3, 3, 16, {"width": 4}).build(running_statistics=True).eval()
    images = torch.randn(5, 3, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(images).dtype == torch.bfloat16
        found = run(network, {}, images, statistics=True).statistics
        said, seen = logits(network, {}, images), features(network, dict(network.named_parameters()), images)
    assert {said.dtype, seen.dtype} == {torch.float32}
    assert {value.dtype for pair in found.values() for value in pair} == {torch.float32}


def test_an_inner_loop_is_the_same_to_the_bit_under_autocast_and_without() -> None:
    learner = Maml(arguments={"width": 4}, inner_steps=2, inner_lr=0.5)
    learner.build(3, 3, 16, seed=0)
    images, labels = torch.randn(6, 3, 16, 16), torch.arange(3).repeat_interleave(2)
    wanted = learner.adapt(learner.frozen_weights(), images, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16), full_precision(images):
        found = learner.adapt(learner.frozen_weights(), images, labels)
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_the_outer_loop_adapts_in_float32_and_asks_the_query_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    from test_meta_update import make_problem

    problem = make_problem()
    problem.data.bank.to(torch.device("cpu"))
    learner, seen = problem.module.learner.float(), []
    forward = torch.nn.Conv2d.forward

    def noted(layer: torch.nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
        output = forward(layer, images)
        seen.append(output.dtype)
        return output

    monkeypatch.setattr(torch.nn.Conv2d, "forward", noted)
    episodes = problem.data.bank.episodes(problem.data.plan(0).adversarial)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outer_loop(learner, learner.weights(), episodes, second_order=True)
    assert seen == [torch.float32] * 4 + [torch.bfloat16] * 4


def half(loss_scale: float, images: torch.Tensor, network: torch.nn.Module) -> torch.Tensor:
    """Return a loss of a network in float16, so many times as large as a mean square."""
    with torch.autocast("cpu", dtype=torch.float16):
        output: torch.Tensor = network(images)
    return loss_scale * output.float().square().mean()


@pytest.mark.parametrize("loss_scale", [1e-6, 1e-3, 1.0, 3e5], ids=["vanishes", "small", "plain", "overflows"])
def test_gradients_through_float16_neither_vanish_nor_overflow(loss_scale: float) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3))
    images = torch.randn(2, 3, 8, 8, requires_grad=True)
    exact = copy.deepcopy(network).double()
    double = images.detach().double().requires_grad_()
    (wanted,) = torch.autograd.grad(loss_scale * exact(double).square().mean(), double)
    with torch.autocast("cpu", dtype=torch.float16):
        (found,) = gradients(half(loss_scale, images, network), [images])
    assert (found - wanted).norm() < 0.01 * wanted.norm()
    (plain,) = torch.autograd.grad(half(loss_scale, images, network), images)
    if loss_scale == 1e-6:
        assert (plain == 0).all()
    scaled = SCALES[0] * half(loss_scale, images, network)
    if loss_scale == 3e5:
        assert not torch.autograd.grad(scaled, images)[0].isfinite().all()


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_elsewhere_gradients_are_pytorchs_to_the_bit(autocast: torch.dtype | None) -> None:
    weight, unused = torch.randn(5, 5, requires_grad=True), torch.zeros(2, requires_grad=True)
    with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None):
        loss = (weight @ weight).float().square().mean()
        found = gradients(loss, [weight, unused], all_used=False)
        with pytest.raises(RuntimeError, match="to not have been used"):
            gradients((weight @ weight).float().mean(), [unused])
    (wanted,) = torch.autograd.grad((weight @ weight if autocast is None else again(weight)).square().mean(), weight)
    assert torch.equal(found[0], wanted)
    assert torch.equal(found[1], torch.zeros(2))


def again(weight: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return (weight @ weight).float()


def test_a_loss_that_is_not_finite_keeps_its_gradient_from_being_so() -> None:
    value = torch.ones(3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.float16):
        (found,) = gradients((value * torch.inf).sum(), [value])
    assert not found.isfinite().any()


@pytest.fixture(scope="module")
def words(toy_data: Path, toy_pool: Path) -> list[str]:
    return [
        *("--config", "demo.yaml", "--data.dataset", "toy", "--data.root", str(toy_data), "--data.pool", str(toy_pool)),
        *("--data.way", "3", "--data.query", "3", "--data.updates_per_epoch", "3", "--data.validation_episodes", "60"),
        *("--synthesis.initial_steps", "1", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
    ]


@pytest.fixture(scope="module")
def trained(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a fit in bfloat16."""
    run = tmp_path_factory.mktemp("runs") / "run"
    curriculum = ["--model.curriculum.warm_up", "2", "--trainer.max_steps", "4"]
    main(["fit", *words, *curriculum, "--trainer.precision", "bf16-mixed", "--run", str(run)])
    return run / "checkpoints" / "last.ckpt"


def test_bf16_mixed_trains_on_weights_and_images_in_float32(trained: Path) -> None:
    state = torch.load(trained, weights_only=True)
    images = state["callbacks"]["SynthesisCallback"]["images"]
    assert {value.dtype for value in [images, *state["state_dict"].values()] if value.is_floating_point()} == {
        torch.float32
    }
    assert images.isfinite().all()


@pytest.mark.parametrize("command", [["validate"], ["test", "--data.test_episodes", "60"]], ids=["validate", "test"])
def test_bf16_mixed_scores_within_the_paired_interval_of_float32(
    command: list[str], trained: Path, words: list[str], tmp_path: Path
) -> None:
    accuracies = {}
    for precision in ("32-true", "bf16-mixed"):
        run = tmp_path / precision
        scored = ["--ckpt_path", str(trained), "--trainer.precision", precision, "--run", str(run), *command[1:]]
        main([command[0], *words, *scored])
        with (run / command[0] / "episodes.csv").open() as file:
            accuracies[precision] = torch.tensor([float(row["plain"]) for row in csv.DictReader(file)])
    paired = interval(accuracies["bf16-mixed"] - accuracies["32-true"])
    assert abs(paired.mean) <= max(paired.ci95, 0.005)  # the toy's episodes may be all alike


@pytest.mark.parametrize(("precision", "words_of_it"), [("16-true", "half precision"), ("bf16-true", "half precision")])
def test_training_in_half_precision_alone_is_refused(
    precision: str, words_of_it: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["fit", *words, "--trainer.max_steps", "1", "--trainer.precision", precision, "--run", str(tmp_path)])
    assert words_of_it in capsys.readouterr().err


@pytest.mark.parametrize(
    ("optimizer", "images_move"), [(0, "0"), (1, "1")], ids=["meta-model, images at rest", "images"]
)
def test_float16_trains_with_gradients_that_are_scaled_where_they_are_taken(
    optimizer: int, images_move: str, words: list[str], tmp_path: Path
) -> None:
    """By Lightning's plugin on a CPU; ``--trainer.precision 16-mixed`` needs a GPU, and becomes bfloat16 on a CPU."""
    half = ["--trainer.plugins", "lightning.pytorch.plugins.MixedPrecision"]
    half += ["--trainer.plugins.precision", "16-mixed", "--trainer.plugins.device", "cpu"]
    first = ["--trainer.max_steps", "1", "--synthesis.initial_steps", "0", "--model.data_step_every", images_move]
    gradients = []
    for name, precision in (("half", half), ("whole", [])):
        main(["fit", *words, *first, *precision, "--run", str(tmp_path / name)])
        saved = torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
        assert not saved.get("MixedPrecision")  # no scaler, which would have a history
        optimizers = [*saved["optimizer_states"], saved["callbacks"]["SynthesisCallback"]["optimizer"]]
        moments = optimizers[optimizer]["state"]
        gradients.append(torch.cat([each["exp_avg"].flatten() for each in moments.values()]))
    found, wanted = gradients
    assert wanted.norm() > 0
    assert 0 < (found - wanted).norm() < 0.02 * wanted.norm()
