"""What is drawn by the number of the meta-update, as the data set and the sampler that Lightning asks for."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from torch.utils.data import Dataset, Sampler

Item = TypeVar("Item")


class Drawn(Dataset[Item], Generic[Item]):
    """Item u is what ``draw`` gives for meta-update u."""

    def __init__(self, draw: Callable[[int], Item]) -> None:
        self.draw = draw

    def __getitem__(self, update: int) -> Item:
        return self.draw(update)


class UpdateSampler(Sampler[int]):
    """Numbers of the meta-updates up to the next validation, counted from the update that the Trainer has come to.

    So a resumed run draws what the interrupted one would have drawn; begun in the midst of an epoch, it is shorter.

    Args:
        start: returns the number of updates made so far.
        per_epoch: updates between two validations.
    """

    def __init__(self, start: Callable[[], int], per_epoch: int) -> None:
        self.start, self.per_epoch = start, per_epoch

    def __len__(self) -> int:
        return self.per_epoch

    def __iter__(self) -> Iterator[int]:
        start = self.start()
        return iter(range(start, (start // self.per_epoch + 1) * self.per_epoch))
