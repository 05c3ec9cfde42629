"""Items side by side: in order, as many at once as there are threads, each on one; and no bit that depends on that."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from purer_lightning.cli import main
from purer_lightning.compute.backend import PLAIN, Backend
from purer_lightning.compute.threads import one_thread, side_by_side
from purer_lightning.engine.choice import compiled
from purer_lightning.engine.compilation import library
from purer_lightning.episode import draw_plan
from purer_lightning.errors import PurerError
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.inversion.gradient import inversion_gradient
from purer_lightning.inversion.priors import InversionWeights
from purer_lightning.learners import Learner, Maml
from purer_lightning.nets import NetworkSpec
from purer_lightning.objectives import Episodic
from purer_lightning.pool.manifest import TeacherRecord
from purer_lightning.pool.teachers import Teacher
from purer_lightning.training.gradient import MetaGradient, adversarial_gradient, meta_gradient

HERE = torch.zeros(1)
WAY, SHOT, QUERY, SIZE = 5, 1, 15, 32
ENGINES = [
    "plain",
    pytest.param("compiled", marks=pytest.mark.skipif(library().functions is None, reason="needs a C++ compiler")),
]


@pytest.fixture(autouse=True)
def threads_as_they_were() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    torch.set_num_threads(threads)
    assert list(side_by_side(lambda item: 10 * item, range(7), HERE)) == [0, 10, 20, 30, 40, 50, 60]
    assert list(side_by_side(lambda item: item, [], HERE)) == []


def test_as_many_items_are_in_work_at_once_as_there_are_threads_and_never_more() -> None:
    torch.set_num_threads(3)
    meeting, lock = threading.Barrier(3, timeout=60), threading.Lock()
    now = most = 0

    def work(item: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        meeting.wait()  # raises unless three arrive
        with lock:
            now -= 1
        return item

    assert list(side_by_side(work, range(9), HERE)) == list(range(9))
    assert most == 3


def test_no_item_is_begun_far_before_its_turn() -> None:
    torch.set_num_threads(2)
    begun: list[int] = []
    results = side_by_side(begun.append, range(100), HERE)
    next(results)
    assert len(begun) <= 3
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 3


@pytest.mark.parametrize("threads", [1, 2])
def test_an_item_has_one_thread_of_torch_and_the_caller_gets_its_own_back(threads: int) -> None:
    torch.set_num_threads(threads)
    assert list(side_by_side(lambda _: torch.get_num_threads(), range(4), HERE)) == [1] * 4
    assert torch.get_num_threads() == threads


def test_one_thread_holds_within_its_block_even_if_that_fails() -> None:
    torch.set_num_threads(2)
    with pytest.raises(PurerError), one_thread():
        assert torch.get_num_threads() == 1
        raise PurerError("It fails.")
    assert torch.get_num_threads() == 2


def test_a_block_that_is_left_late_gives_back_no_more_than_the_block_around_it_did() -> None:
    torch.set_num_threads(2)
    with pytest.raises(KeyboardInterrupt), one_thread():
        kept = side_by_side(str, [1, 2], torch.zeros(1))
        next(kept)
        raise KeyboardInterrupt
    assert torch.get_num_threads() == 2
    kept.close()  # type: ignore[attr-defined]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_failing_items_sentence_is_heard_and_the_threads_are_given_back(threads: int) -> None:
    torch.set_num_threads(threads)

    def work(item: int) -> int:
        if item in (3, 4):
            raise PurerError(f"Item {item} fails.")
        return item

    with pytest.raises(PurerError, match="Item 3 fails"):
        list(side_by_side(work, range(8), HERE))
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("autocast", [True, False])
def test_the_callers_modes_hold_on_the_threads(grad: bool, autocast: bool) -> None:
    torch.set_num_threads(2)

    def modes(_: int) -> tuple[bool, torch.dtype]:
        product = torch.ones(2, 2) @ torch.ones(2, 2)
        return torch.is_grad_enabled(), product.dtype

    with torch.set_grad_enabled(grad), torch.autocast("cpu", torch.float16, autocast):
        found = set(side_by_side(modes, range(4), HERE))
    assert found == {(grad, torch.float16 if autocast else torch.float32)}


def test_work_on_another_device_stays_with_the_caller() -> None:
    torch.set_num_threads(2)
    elsewhere = torch.zeros(1, device="meta")
    assert set(side_by_side(lambda _: threading.get_ident(), range(3), elsewhere)) == {threading.get_ident()}
    assert threading.get_ident() not in set(side_by_side(lambda _: threading.get_ident(), range(3), HERE))


def backend_of(engine: str) -> Backend:
    return compiled() if engine == "compiled" else PLAIN


def make_teachers() -> list[Teacher]:
    """Return three Conv4 teachers of overlapping classes."""
    teachers = []
    for number, classes in enumerate(([0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [3, 7, 1, 0, 9])):
        torch.manual_seed(number)
        spec = NetworkSpec("conv4", len(classes), 3, SIZE, {"width": 32})
        network = spec.build(running_statistics=True).eval().requires_grad_(False)
        record = TeacherRecord(str(number), "", "", spec, "made up", classes, [str(c) for c in classes], None)
        teachers.append(Teacher(record, network, torch.tensor(classes)))
    return teachers


def make_learner(engine: str) -> Learner:
    learner = Maml("conv4", {"width": 32})
    learner.build(WAY, 3, SIZE, seed=0, backend=backend_of(engine))
    return learner


def make_bank() -> ImageBank:
    return ImageBank.drawn([str(number) for number in range(10)], SHOT + QUERY, 3, SIZE, seed=0)


def assert_same_bits(found: list[Any]) -> None:
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=0)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_number_of_threads_changes_no_bit_of_an_inversion_gradient(engine: str) -> None:
    teachers, images, found = make_teachers(), make_bank().images, []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        priors = InversionWeights().priors()
        found.append(inversion_gradient(teachers, images, (1, -2), priors, backend=backend_of(engine)))
    assert_same_bits(found)
    assert (found[0][1] != 0).any()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_number_of_threads_changes_no_bit_of_a_theta_steps_gradients(engine: str) -> None:
    learner, bank, objective = make_learner(engine), make_bank(), Episodic()
    plan = draw_plan(bank.counts, 4, WAY, SHOT, QUERY, 0, torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    found: list[tuple[MetaGradient, Tensor]] = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        harder = adversarial_gradient(objective, learner, bank, plan.episodes()[0])
        found.append((meta_gradient(objective, learner, bank, plan), harder))
    assert_same_bits(found)
    torch.testing.assert_close(dict(learner.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_number_of_threads_changes_no_bit_of_a_run_nor_of_its_evaluation(
    engine: str, toy_data: Path, toy_pool: Path, tmp_path: Path
) -> None:
    """A fit whose switch fires, with a validation, and then a test with ICFIL."""
    where = ["--data.dataset", "toy", "--data.root", str(toy_data), "--data.pool", str(toy_pool)]
    words = ["--config", "demo.yaml", *where, "--data.way", "3", "--data.query", "8", "--engine.choice", engine]
    words += ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    fit = ["--trainer.max_steps", "6", "--data.updates_per_epoch", "3", "--data.validation_episodes", "3"]
    fit += ["--model.curriculum.warm_up", "1", "--model.curriculum.patience", "1", "--synthesis.initial_steps", "2"]
    found, written = [], []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        run = tmp_path / str(threads)
        main(["fit", *words, *fit, "--run", str(run)])
        last = run / "checkpoints" / "last.ckpt"
        main(["test", *words, "--data.test_episodes", "10", "--ckpt_path", str(last), "--run", str(run)])
        state = torch.load(last, weights_only=True)
        written.append([(run / name).read_text() for name in ("metrics.csv", "test/episodes.csv")])
        found.append([state["state_dict"], state["callbacks"]["SynthesisCallback"]["images"]])
    assert_same_bits(found)
    assert written[0] == written[1] == written[2]
    assert "icfil" in written[0][1]
