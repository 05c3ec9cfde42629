"""PseudoEpisodeDataModule: pseudo episodes from the image bank to train on, real ones to validate and test on."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from purer_lightning.data.real_episodes import AT_ONCE, RealEpisodes
from purer_lightning.data.splits import ImageSplit, open_split
from purer_lightning.data.zip_names import normal_form
from purer_lightning.episode import Episode, EpisodePlan, draw_plan
from purer_lightning.errors import PurerError
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.inversion.synthesis import Synthesis
from purer_lightning.nets import NETWORKS
from purer_lightning.pool.kinds import KINDS
from purer_lightning.pool.manifest import read_manifest
from purer_lightning.pool.teachers import AnyTeacher, Pool, load_pool
from purer_lightning.seeding import generator
from purer_lightning.training.update_sampler import Drawn, UpdateSampler


class UpdatePlan(NamedTuple):
    """What one meta-update draws: its meta-batch, and the one fresh episode of an adversarial data step."""

    meta_batch: EpisodePlan
    adversarial: EpisodePlan


class PseudoEpisodeDataModule(LightningDataModule):
    """Owns the dynamic dataset and draws from it the episodes of each meta-update.

    Training batches are plans, not images: the images change in the very update that uses them.

    Args:
        dataset: prepared data set for validation and test; its images are never used in training.
        pool: folder of the pool.
        root: folder of the prepared data sets.
        way: classes an episode.
        shot: support images a class.
        query: query images a class; 15 in the paper's protocol.
        images_per_class: pseudo images a class in the bank; None makes it shot + query, as in the released code.
        episodes_per_update: the meta-batch; 4 in the released code.
        updates_per_epoch: meta-updates between two validations; 200 in the released code.
        validation_episodes: fixed episodes of meta-val.
        test_episodes: fixed episodes of the split to be tested.
        test_split: "val" is for choosing settings, "test" for the one final figure.
        teachers_per_update: how many teachers a data step asks, drawn anew for each; None for all. The images of the
            classes that they know move, and the adversarial episode is of these; the others do not. Those of the
            meta-batch are of all classes.
        resident_teachers: leave the teachers on disk and keep at most so many in a rank's memory; None loads all.
        networks: networks of your own that teachers or the meta-model are of, by their paths: see ``nets.NETWORKS``.
        teacher_kinds: kinds of teacher of your own, by their paths: see ``pool.kinds.TeacherKind``.
        num_workers: worker processes that fetch real episodes.
        seed: every draw follows from it; linked to the run's seed.

    Attributes:
        teachers: the pool; loaded for training only.
        synthesis: owns the image bank; put here by the SynthesisCallback.
    """

    teachers: Pool
    synthesis: Synthesis

    def __init__(
        self,
        dataset: str = "cifar_fs",
        pool: str = "pools/cifar_fs",
        root: str = "data",
        way: int = 5,
        shot: int = 1,
        query: int = 15,
        images_per_class: int | None = None,
        episodes_per_update: int = 4,
        updates_per_epoch: int = 200,
        validation_episodes: int = 200,
        test_episodes: int = 600,
        test_split: Literal["val", "test"] = "test",
        teachers_per_update: int | None = None,
        resident_teachers: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
        networks: list[str] | None = None,
        teacher_kinds: list[str] | None = None,
    ) -> None:
        super().__init__()
        for path in networks or ():
            NETWORKS.name(path, "data.networks")
        for path in teacher_kinds or ():
            KINDS.name(path, "data.teacher_kinds")
        self.dataset, self.pool, self.root = dataset, pool, root
        self.way, self.shot, self.query = way, shot, query
        self.images_per_class = shot + query if images_per_class is None else images_per_class
        self.episodes_per_update, self.updates_per_epoch = episodes_per_update, updates_per_epoch
        self.validation_episodes, self.test_episodes = validation_episodes, test_episodes
        self.test_split, self.num_workers, self.seed = test_split, num_workers, seed
        self.teachers_per_update, self.resident_teachers = teachers_per_update, resident_teachers

    def setup(self, stage: str) -> None:
        """Load the pool for ``fit``; for validation and test alone its description is enough.

        Raises:
            PurerError: settings that cannot be met, each with what to change.
        """
        self._check_numbers()
        manifest = read_manifest(self.pool)
        self.channels, self.image_size = manifest.channels, manifest.image_size
        self.normalisation = manifest.normalisation
        if stage == "fit":
            self.teachers = load_pool(self.pool, resident=self.resident_teachers)
            self._check_bank()
            self._check_asked()

    def _check_numbers(self) -> None:
        least_of = dict.fromkeys(("shot", "query", "episodes_per_update", "updates_per_epoch"), 1)
        for name, least in (least_of | {"way": 2, "num_workers": 0}).items():
            if getattr(self, name) < least:
                raise PurerError(f"Expected data.{name} to be at least {least}, but got {getattr(self, name)}.")

    def _check_unseen(self, images: ImageSplit) -> None:
        """Raise PurerError where a teacher of the pool was trained on a class of this split, by its name."""
        own = set(images.class_names)
        for record in read_manifest(self.pool).teachers:
            seen = own.intersection(map(normal_form, record.class_names)) if record.dataset == self.dataset else set()
            if seen:
                raise PurerError(
                    f"Expected the classes of '{self.dataset}', split {images.split}, to be new to the pool in "
                    f"'{self.pool}', but its teacher '{record.name}' was trained on '{min(seen)}'; leave that teacher "
                    f"out, or test on classes that none has seen."
                )

    def _check_bank(self) -> None:
        known, asked, there = len(self.teachers.classes), self.teachers_per_update, len(self.teachers.teachers)
        if asked is not None and not 1 <= asked <= there:
            raise PurerError(
                f"Expected data.teachers_per_update to be 1 to {there}, which the pool in '{self.pool}' has, or null "
                f"for all, but got {asked}."
            )
        if self.way > known:
            raise PurerError(
                f"Expected way to be at most the {known} classes that the pool in '{self.pool}' knows, but got "
                f"{self.way}; lower data.way."
            )
        if self.shot + self.query > self.images_per_class:
            raise PurerError(
                f"An episode needs shot + query = {self.shot} + {self.query} = {self.shot + self.query} distinct "
                f"images a class, but the bank holds images_per_class = {self.images_per_class}; raise "
                f"data.images_per_class."
            )

    def _check_asked(self) -> None:
        """Go through the draws of the run, unless any of them is sure to know classes enough."""
        if self.teachers_per_update is None:
            return
        known = sorted(len(teacher.classes) for teacher in self.teachers.teachers)
        updates = self.trainer.max_steps if self.trainer else -1
        if known[self.teachers_per_update - 1] < self.way:  # any draw has a teacher of at least so many classes
            for update in range(updates if updates >= 0 else self.updates_per_epoch):
                self.moved(update)

    @property
    def bank(self) -> ImageBank:
        """The image bank as it is now."""
        return self.synthesis.bank

    def asked(self, update: int) -> Sequence[AnyTeacher]:
        """Return the teachers that the data step of an update asks, in the pool's order."""
        teachers = self.teachers.teachers
        if self.teachers_per_update is None:
            return teachers
        order = torch.randperm(len(teachers), generator=generator(self.seed, "teachers", update))
        return [teachers[number] for number in sorted(order[: self.teachers_per_update].tolist())]

    def moved(self, update: int) -> Tensor | None:
        """Return the classes whose images the data step of an update moves, int64, ascending; None for all.

        Raises:
            PurerError: too few for an adversarial episode.
        """
        if self.teachers_per_update is None:
            return None
        classes = self.teachers.classes_of(self.asked(update))
        if len(classes) < self.way and update >= 0:  # none in the initial inversion
            raise PurerError(
                f"An adversarial episode needs {self.way} classes, but the teachers that update {update} asks know "
                f"{len(classes)} between them; raise data.teachers_per_update or lower data.way."
            )
        return classes

    def plan(self, update: int) -> UpdatePlan:
        """Draw what meta-update number ``update`` (from 0) uses; classes from all of the pool, mixing teachers.

        Those of the adversarial episode are rows of ``bank.only(moved(update))``.
        """
        counts, moved = self.synthesis.counts, self.moved(update)
        able = counts if moved is None else counts[moved]
        shape = (self.way, self.shot, self.query, update)
        return UpdatePlan(
            draw_plan(counts, self.episodes_per_update, *shape, generator(self.seed, "meta-batch", update)),
            draw_plan(able, 1, *shape, generator(self.seed, "adversarial episode", update)),
        )

    def train_dataloader(self) -> DataLoader[UpdatePlan]:
        """Plans of consecutive meta-updates; in this process, since drawing one costs less than a millisecond."""
        sampler = UpdateSampler(lambda: self.trainer.global_step if self.trainer else 0, self.updates_per_epoch)
        return DataLoader(Drawn(self.plan), sampler=sampler, batch_size=None)

    def val_dataloader(self) -> DataLoader[list[Episode]]:
        """The fixed episodes of meta-val."""
        return self._real_episodes("val", self.validation_episodes)

    def test_dataloader(self) -> DataLoader[list[Episode]]:
        """The fixed episodes of ``test_split``."""
        return self._real_episodes(self.test_split, self.test_episodes)

    def _real_episodes(self, split: str, episodes: int) -> DataLoader[list[Episode]]:
        images = self._open(split)
        dataset = RealEpisodes(images, self.normalisation, self.way, self.shot, self.query, episodes, self.seed)
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if episodes < world:
            raise PurerError(
                f"Expected an episode of '{split}' for each of the {world} ranks, but there are {episodes}; raise "
                "data.validation_episodes or data.test_episodes, or lower trainer.devices."
            )
        # Strided ids instead of Lightning's sampler, which pads with repeated episodes.
        own = range(rank, episodes, world)
        return DataLoader(dataset, sampler=own, batch_size=AT_ONCE, collate_fn=list, num_workers=self.num_workers)  # type: ignore[arg-type]

    def _open(self, split: str) -> ImageSplit:
        images = open_split(self.root, self.dataset, split)
        if (images.channels, images.image_size) != (self.channels, self.image_size):
            raise PurerError(
                f"The pool in '{self.pool}' is for images of {self.channels} x {self.image_size} x {self.image_size}, "
                f"but '{self.dataset}' in '{self.root}' has {images.channels} x {images.image_size} x "
                f"{images.image_size}; choose another data.dataset or data.pool."
            )
        self._check_unseen(images)
        return images
