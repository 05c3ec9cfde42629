"""Cross-teacher distillation, our own method: all teachers judge every pseudo image, one student learns it all.

A pseudo image belongs to one teacher's classes, but all teachers have something to say of it. Side by side, their
logits are a description of the image that tells unseen classes apart (the baseline "all teachers' logits"), and one
network learns to give it. Not part of PURER.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from purer_lightning.compute.ranks import ALONE, Ranks
from purer_lightning.episode import EpisodePlan
from purer_lightning.errors import PurerError
from purer_lightning.inversion.bank import ImageBank
from purer_lightning.learners.base import Learner
from purer_lightning.learners.features import of_network
from purer_lightning.nets.functional import Weights
from purer_lightning.objectives.augmentation import AugmentationSettings, augment
from purer_lightning.objectives.base import Objective, Outcome, check_outputs
from purer_lightning.objectives.dead_leaves import DeadLeaves
from purer_lightning.objectives.distillation_losses import LOSSES, LossName, relational
from purer_lightning.objectives.episodic import outer_loop
from purer_lightning.objectives.image_source import ImageSource
from purer_lightning.pool.ensemble import CHUNK, Judges, by_teacher, centred, spread
from purer_lightning.pool.teachers import Pool
from purer_lightning.seeding import generator


class Judged(NamedTuple):
    """Images and all teachers' judgements of them.

    Attributes:
        images: (N, C, H, W).
        targets: (N, outputs): centred logits of all teachers, each teacher's in units of its own spread.
        features: (N, D): what all teachers' linear heads are given; D is 0 where the student does not learn it.
    """

    images: Tensor
    targets: Tensor
    features: Tensor


class Distillation(Objective):
    """Brings the student's outputs to all teachers' logits, on augmented and mixed pseudo images.

    Args:
        batch_size: images a theta step.
        judged_batches: batches that are drawn and judged at once.
        reuse: theta steps for which a judged image is kept; a judgement is a forward pass of every teacher, a theta
            step one forward and backward of the student, so a view that is seen some times, among others each time,
            buys more steps in the same minutes.
        mirror: let the teachers judge each image and its mirror image, and take the mean: the student learns
            their joint judgement without looking twice itself. Doubles the cost of judging; made no difference on
            meta-val: experiments/distillation_sweep.md.
        procedural: share of images from ``source`` beside those of the bank, 0 to 1.
        augmentation: how images are varied before they are judged.
        episodic: weight of the episodes' mean outer loss, added to that of the distillation; 0 leaves them out.
        loss: between outputs and logits: objectives/comparison.py. On meta-val neither "mse" nor "kl" did better than
            "smooth_l1": experiments/distillation_sweep.md.
        features: weight of the relational loss between the student's features and all teachers'; 0 leaves it out.
        source: where the procedural images come from; dead leaves by default.

    Raises:
        PurerError: a value out of its range.

    Attributes:
        judges: all teachers, as one function.
        scale: each teacher's spread, repeated for its outputs, (outputs,); None until images have been judged.
        replay: the judged images in use; None until there are any.
    """

    judges: Judges

    def __init__(
        self,
        batch_size: int = 256,
        judged_batches: int = 8,
        reuse: int = 4,
        mirror: bool = True,
        procedural: float = 0.5,
        augmentation: AugmentationSettings | None = None,
        episodic: float = 0.0,
        loss: LossName = "smooth_l1",
        features: float = 0.0,
        source: ImageSource | None = None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("judged_batches", judged_batches), ("reuse", reuse)):
            if value < 1:
                raise PurerError(f"Expected model.objective.init_args.{name} to be at least 1, but got {value}.")
        if not 0 <= procedural <= 1:
            raise PurerError(
                f"Expected model.objective.init_args.procedural, a share, to be within 0 and 1, but got {procedural}."
            )
        self.batch_size, self.judged_batches, self.reuse = batch_size, judged_batches, reuse
        for name, weight in (("episodic", episodic), ("features", features)):
            if weight < 0:
                raise PurerError(f"Expected model.objective.init_args.{name} to be at least 0, but got {weight}.")
        self.mirror, self.procedural, self.episodic = mirror, procedural, episodic
        self.loss, self.features, self.source = loss, features, source or DeadLeaves()
        self.augmentation = augmentation or AugmentationSettings()
        self.augmentation.check()
        self.scale: Tensor | None = None
        self.replay: Judged | None = None

    def setup(self, pool: Pool, learner: Learner, seed: int) -> None:
        """Copy the teachers as judges, who have judged nothing yet."""
        self.scale, self.replay = None, None
        self.judges = Judges([teacher.network for teacher in pool.teachers], learner.backend)
        super().setup(pool, learner, seed)

    def check(self, learner: Learner) -> None:
        """The student has an output for each output of each teacher, and shifts stay within an image."""
        self.augmentation.check_shift(self.pool.image_size)
        check_outputs(learner, sum(self.judges.sizes), "Distillation", "one for each output of each teacher")

    def outcome(
        self, learner: Learner, weights: Weights, bank: ImageBank, plan: EpisodePlan, *, second_order: bool
    ) -> Outcome:
        """Compare student and teachers on a batch; accuracy is the share of judgements whose top class is the same."""
        with torch.no_grad():
            judged = self.batch(bank, plan.update)
            episodes = bank.episodes(plan) if self.episodic else []
        said, disagreement = self.compare(learner, weights, judged)
        loss = disagreement
        if episodes:
            outer = outer_loop(learner, weights, episodes, second_order=second_order).loss
            loss = disagreement + self.episodic / len(episodes) * outer
        return Outcome(loss, disagreement.detach(), agreement(said, judged.targets, self.judges.sizes))

    def hardness(self, learner: Learner, weights: Weights, bank: ImageBank, plan: EpisodePlan) -> Tensor:
        """Return the student's disagreement with the teachers on fresh views of the bank's images."""
        judged = self.judge(self.draw(bank, self.batch_size, "hard views", plan.update))
        return self.compare(learner, weights, judged)[1]

    def compare(self, learner: Learner, weights: Weights, judged: Judged) -> tuple[Tensor, Tensor]:
        """Return the student's outputs (N, outputs) and their disagreement with the teachers, a scalar."""
        output = learner.backend.run(learner.network, of_network(weights), judged.images)
        disagreement = LOSSES[self.loss](output.logits, judged.targets, self.judges.sizes)
        if self.features and output.features is not None:
            disagreement = disagreement + self.features * relational(output.features, judged.features)
        return output.logits, disagreement

    def batch(self, bank: ImageBank, update: int) -> Judged:
        """Return the update's batch: another mixture of the judged images in each update, each image once a round."""
        device, place = bank.images.device, update % (self.judged_batches * self.reuse)
        if place == 0 or self.replay is None:
            drawn = self.draw(bank, self.batch_size * self.judged_batches, "views", update - place)
            self.replay = self.judge(drawn, Ranks.current())
        # Those of a checkpoint are on the CPU; what is on the device already is not copied.
        self.replay = Judged(*(part.to(device) for part in self.replay))
        images, targets, features = self.replay
        round_, slot = divmod(place, self.judged_batches)
        order = torch.randperm(len(images), generator=generator(self.seed, "replay", update - place, round_))
        rows = order[slot * self.batch_size : (slot + 1) * self.batch_size].to(device)
        return Judged(images[rows].contiguous(memory_format=torch.channels_last), targets[rows], features[rows])

    def draw(self, bank: ImageBank, count: int, purpose: str, update: int) -> Tensor:
        """Return ``count`` views of images, (count, C, H, W); the graph reaches the bank if gradients are enabled."""
        rng = generator(self.seed, purpose, update)
        classes, slots, channels, size, _ = bank.images.shape
        made_up = round(count * self.procedural)
        rows = torch.randint(classes * slots, (count - made_up,), generator=rng).to(bank.images.device)
        procedural = self.source.draw(made_up, channels, size, rng).to(bank.images.device)
        images = torch.cat([bank.images.flatten(0, 1)[rows], procedural])
        return augment(images[torch.randperm(count, generator=rng).to(images.device)], self.augmentation, rng)

    def judge(self, images: Tensor, ranks: Ranks = ALONE) -> Judged:
        """Ask all teachers. Each teacher's spread is taken from the first images judged, and kept.

        Args:
            images: (N, C, H, W); the graph reaches them, on one rank.
            ranks: those that share the images, in chunks.
        """
        outputs, width = sum(self.judges.sizes), self.judges.width if self.features else 0
        chunks = torch.split(images, CHUNK)
        own = [torch.cat(self.ask(chunk), dim=1).flatten() for chunk in ranks.share(chunks)]
        gathered = ranks.gather(own, [len(chunk) * (outputs + width) for chunk in chunks], images)
        logits, features = torch.split(torch.cat(gathered).view(len(images), -1), [outputs, width], dim=1)
        logits = centred(logits, self.judges.sizes)
        if self.scale is None:
            self.scale = spread(logits.detach(), self.judges.sizes)
        return Judged(images, logits / self.scale.to(images.device), features)

    def ask(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return all teachers' logits (N, outputs) and features (N, D), in at least float32: means over both views."""
        views = [images, images.flip(-1)] if self.mirror else [images]
        judges = self.judges.to(images)
        outputs = [judges.logits_and_features(view) for view in views]
        logits, features = (torch.stack(parts).mean(dim=0) for parts in zip(*outputs, strict=True))
        return logits, features if self.features else no_features(images)

    def state_dict(self) -> dict[str, Any]:
        """The judged images in use and the teachers' spreads; once there are any."""
        if self.replay is None:
            return {}
        return {"scale": self.scale, **self.replay._asdict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what ``state_dict`` gave; of an older checkpoint, nothing: then images are judged anew."""
        if not state:
            return
        self.scale = state["scale"]
        # Of a run with other batches the judged images are too few or too many, and others are drawn.
        if len(state["images"]) == self.batch_size * self.judged_batches:
            features = state["features"] if self.features else no_features(state["images"])
            self.replay = Judged(state["images"], state["targets"], features)


def no_features(images: Tensor) -> Tensor:
    """Return features of width 0, (N, 0)."""
    return images.new_empty(len(images), 0)


def agreement(said: Tensor, targets: Tensor, sizes: list[int]) -> Tensor:
    """Return the share of (image, teacher) for which both sides have the same top class, scalar in 0 to 1."""
    same = [
        (one.argmax(dim=1) == other.argmax(dim=1)).float().mean()
        for one, other in zip(by_teacher(said.detach(), sizes), by_teacher(targets, sizes), strict=True)
    ]
    return torch.stack(same).mean()
