"""PixelSynthesis: which pixels a step of Adam moves, in memory and on disk, and how a saved state goes on."""

from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor

from purer_lightning.inversion.loss import Terms
from purer_lightning.inversion.synthesis import PixelSynthesis, SynthesisTask
from purer_lightning.nets.normalisation import Normalisation
from purer_lightning.pool.teachers import Pool, PoolClass

CLASSES, PER_CLASS, SIZE, RATE = 4, 5, 6, 0.1
POOL = Pool(
    SIZE, 3, Normalisation((0.0,) * 3, (1.0,) * 3), tuple(PoolClass("made up", n, str(n)) for n in range(CLASSES)), ()
)


def made(folder: Path | None = None, rate: float = RATE) -> PixelSynthesis:
    synthesis = PixelSynthesis()
    synthesis.setup(SynthesisTask(POOL, PER_CLASS, 1, 2, seed=0, rate=rate, folder=folder))
    return synthesis


def drawn(count: int = CLASSES, seed: int = 0) -> Tensor:
    return torch.randn(count, PER_CLASS, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def test_a_step_for_all_classes_is_adams_step_on_the_whole_bank() -> None:
    synthesis, images = made(), made().bank.images
    whole = torch.optim.Adam([images], lr=RATE)
    for seed in range(3):
        images.grad = drawn(seed=seed)
        whole.step()
        synthesis.step(drawn(seed=seed))
    assert torch.equal(synthesis.bank.images, images)


def test_classes_that_are_left_out_lie_still_and_go_on_as_if_nothing_had_been() -> None:
    synthesis, alone = made(), made()
    gradients = torch.randn(4, 2, PER_CLASS, 3, SIZE, SIZE)
    for asked, gradient in zip(([0, 2], [1, 2], [1, 3], [0, 3]), gradients, strict=True):
        before = synthesis.bank.images.detach().clone()
        synthesis.step(gradient, torch.tensor(asked))
        changed = (synthesis.bank.images != before).flatten(1).any(dim=1)
        assert changed.nonzero().flatten().tolist() == asked
    for gradient in (gradients[0][:1], gradients[3][:1]):  # those of class 0
        alone.step(gradient, torch.tensor([0]))
    assert torch.equal(synthesis.bank.images[0], alone.bank.images[0])


def test_images_on_disk_move_as_those_in_memory_and_leave_no_file(tmp_path: Path) -> None:
    memory, disk = made(), made(tmp_path)
    assert torch.equal(memory.bank.images, disk.bank.images)
    for seed in range(3):
        for each in (memory, disk):
            each.step(drawn(2, seed), torch.tensor([1, 3]))
    assert torch.equal(memory.bank.images, disk.bank.images)
    assert not list(tmp_path.iterdir())


def test_a_saved_state_goes_on_with_the_same_bits_in_memory_and_on_disk(tmp_path: Path) -> None:
    first = made()
    first.step(drawn(1), torch.tensor([2]))
    state = deepcopy(first.state_dict())  # Adam moves its moments in place
    resumed = [made(), made(tmp_path)]
    for each in resumed:
        each.load_state_dict(deepcopy(state))
    for each in (first, *resumed):
        each.step(drawn(1, 1), torch.tensor([2]))
        each.step(drawn(1, 2), torch.tensor([0]))
    for each in resumed:
        assert torch.equal(each.bank.images, first.bank.images)


def test_the_rate_of_the_settings_wins_over_that_of_a_saved_state() -> None:
    slow, fast = made(rate=RATE / 10), made()
    slow.load_state_dict(made().state_dict())
    for each in (slow, fast):
        each.step(drawn())
    change = [(each.bank.images - made().bank.images).abs().mean() for each in (slow, fast)]
    torch.testing.assert_close(10 * change[0], change[1], rtol=1e-4, atol=0)


class Teaches:
    """A judge that knows some of the classes and wants every pixel smaller."""

    update, teachers = 0, ()

    def __init__(self, classes: Tensor | None) -> None:
        self.classes = classes

    def __call__(self, bank: object, teachers: object = None) -> tuple[Terms, Tensor]:
        del teachers
        self.asked = bank.classes  # type: ignore[attr-defined]
        images: Tensor = bank.images  # type: ignore[attr-defined]
        return {"total": images.detach().sum()}, torch.ones_like(images)


def test_a_move_asks_for_the_images_of_the_teachers_classes_and_moves_no_others() -> None:
    for classes in (torch.tensor([1, 3]), None):
        synthesis, judge = made(), Teaches(classes)
        before = synthesis.bank.images.detach().clone()
        known = [1, 3] if classes is not None else [0, 1, 2, 3]
        assert torch.equal(synthesis.move(judge)["total"], before[known].sum())
        assert judge.asked.tolist() == known
        changed = (synthesis.bank.images < before).flatten(1).all(dim=1)
        assert changed.nonzero().flatten().tolist() == known
