"""Few-shot tasks of real pictures: a fixed, seeded list, the same for every method that is compared on it."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.data import Dataset

from purer_lightning.data.splits import ImageSplit
from purer_lightning.episode import Episode, draw_plan, labels_in_order
from purer_lightning.errors import PurerError
from purer_lightning.nets.normalisation import Normalisation
from purer_lightning.seeding import generator

CHUNK = 128  # pictures represented in one call: what a network computes on the way stays below half a GB
AT_ONCE = 8  # episodes a batch, whatever the machine: so many threads can score side by side


class RealEpisodes(Dataset[Episode]):
    """A list of episodes of one split. Episode i depends on the seed, the split's name and i, on nothing else.

    So it is the same in any order, on any rank, in any worker, and in a longer list.

    Attributes:
        representations: what ``represent`` was told of each class's pictures, (n, D); None before.

    Args:
        split: where the pictures are.
        normalisation: of the network that will see the episodes, which need not be the split's own.
        way: classes an episode.
        shot: support images a class.
        query: query images a class.
        episodes: length of the list.
        seed: of the list.

    Raises:
        PurerError: more classes or images wanted than the split has, or channels that do not fit.
    """

    def __init__(
        self, split: ImageSplit, normalisation: Normalisation, way: int, shot: int, query: int, episodes: int, seed: int
    ) -> None:
        _check(split, normalisation, {"way": way, "shot": shot, "query": query, "episodes": episodes})
        self.split = split
        self.normalisation = normalisation
        self.way = way
        self.shot = shot
        self.query = query
        self.episodes = episodes
        self.seed = seed
        self.representations: list[Tensor] | None = None

    def __len__(self) -> int:
        return self.episodes

    def __getitem__(self, index: int) -> Episode:
        """Draw episode ``index``, 0 to ``len(self)`` - 1; its ``id`` is the index."""
        images = self._images(index)
        return Episode(
            support=images[:, : self.shot].flatten(0, 1),
            support_labels=labels_in_order(self.way, self.shot),
            query=images[:, self.shot :].flatten(0, 1),
            query_labels=labels_in_order(self.way, self.query),
            id=index,
        )

    def pictures(self, index: int) -> tuple[list[str], Tensor]:
        """Return the classes' names in the order of labels, and the pictures of episode ``index`` as they are stored.

        Returns:
            ``way`` names, and uint8, (way, shot + query, C, H, W), the support first.
        """
        if not 0 <= index < self.episodes:
            raise IndexError(f"Episode {index} is not in a list of {self.episodes}.")
        positions, slots = self._drawn(index)
        own = [self.split.pictures(position, row) for position, row in zip(positions, slots, strict=True)]
        return [self.split.class_names[position] for position in positions], torch.stack(own)

    @property
    def pictures_an_episode(self) -> int:
        """How many pictures an episode shows."""
        return self.way * (self.shot + self.query)

    def represent(self, function: Callable[[Tensor], Tensor]) -> None:
        """Let episodes hold, in the place of each picture, what a function says of it; it is asked once a picture.

        Args:
            function: from normalised pictures (N, C, H, W) to (N, D), each row from its picture alone.
        """
        self.representations = []
        for position in range(len(self.split.class_ids)):
            images = self.normalisation.apply(self.split.of_class(position))
            self.representations.append(torch.cat([function(chunk) for chunk in torch.split(images, CHUNK)]))

    def _images(self, index: int) -> Tensor:
        """What an episode is made of, its support first: (way, shot + query, C, H, W), or (way, shot + query, D)."""
        if self.representations is None:
            return self.normalisation.apply(self.pictures(index)[1])
        positions, slots = self._drawn(index)
        return torch.stack([self.representations[place][row] for place, row in zip(positions, slots, strict=True)])

    def _drawn(self, index: int) -> tuple[list[int], Tensor]:
        """Return the classes of an episode, as positions in the split, and a row of slots for each."""
        rng = generator(self.seed, f"episodes-{self.split.split}", index)
        plan = draw_plan(self.split.counts, 1, self.way, self.shot, self.query, index, rng)
        return plan.classes[0].tolist(), plan.slots[0]


def _check(split: ImageSplit, normalisation: Normalisation, sizes: dict[str, int]) -> None:
    """Compare what is wanted with what the split has."""
    where = f"the {split.split} split of '{split.dataset}'"
    for name, value in sizes.items():
        if value < 1:
            raise PurerError(f"Expected `{name}` to be at least 1, but got {value}.")
    classes = len(split.class_ids)
    if sizes["way"] > classes:
        raise PurerError(
            f"Expected `way` to be at most {classes}, the number of classes in {where}, but got {sizes['way']}: "
            "lower it."
        )
    fewest = int(split.counts.argmin())
    has, shot, query = int(split.counts[fewest]), sizes["shot"], sizes["query"]
    if shot + query > has:
        raise PurerError(
            f"Expected `shot + query` to be at most {has}, the number of images of class '{split.class_names[fewest]}' "
            f"in {where}, but got {shot} + {query} = {shot + query}: lower one of them."
        )
    if len(normalisation.mean) != split.channels:
        raise PurerError(
            f"Expected images of {len(normalisation.mean)} channels, as the normalisation has, but {where} has "
            f"{split.channels}: prepare it with `--channels {len(normalisation.mean)}`."
        )
