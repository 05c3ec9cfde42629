"""Independent items of work side by side on Python threads, each item on one thread of torch's."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, Self, TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread within the block: sums over threads would depend on how many there are.

    Small operations profit, too: a second thread that has had a share waits for the next one, and while it waits it
    takes a core from whoever works.

    Where there is one thread already, nothing is set, at the end neither: a generator that has such a block in it may
    be closed long after the block around it, as after Ctrl-C in a notebook.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item], like: Tensor) -> Iterator[Result]:
    """Return each item's result, in the order of the items, computing as many at once as torch has threads now.

    Otherwise torch would share out each operation over its threads, which a small one does not repay, and would add up
    in an order that depends on their number. So the number of threads changes no bit of a result. From when the first
    result is asked for until the last one is taken, torch has one thread.

    Args:
        work: is called from several threads, so no two calls may change one object. It runs under the caller's grad
            mode and autocast.
        items: what it is called with. At most one a thread is in work, and at most one more result waits.
        like: on any device but a CPU the items are computed one after the other, by the caller.

    Raises:
        Exception: what ``work`` raised for the first of the items for which it did.
    """
    if like.device.type != "cpu":
        return map(work, items)
    return _each_on_one(work, items, min(torch.get_num_threads(), len(items)))


def _each_on_one(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    with one_thread():
        yield from _on_threads(work, items, workers) if workers > 1 else map(work, items)


def _on_threads(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    modes = _Modes.current()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as threads:
        try:
            for item in items:
                waiting.append(threads.submit(modes.run, work, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class _Modes(NamedTuple):
    """What torch keeps for each thread, and a new one has not."""

    grad: bool
    autocast: bool
    dtype: torch.dtype

    @classmethod
    def current(cls) -> Self:
        return cls(torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"))

    def run(self, work: Callable[[Item], Result], item: Item) -> Result:
        torch.set_num_threads(1)
        with torch.set_grad_enabled(self.grad), torch.autocast("cpu", self.dtype, self.autocast):
            return work(item)
