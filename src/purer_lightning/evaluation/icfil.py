"""ICFIL: calibrate an adapted model against its own inversion (PURER, ICFIL).

"Calibration" is the paper's word for drawing real and inverted features together; not that of probabilities.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from purer_lightning.errors import PurerError
from purer_lightning.files.records import STRICT
from purer_lightning.inversion.loss import inversion_loss
from purer_lightning.inversion.priors import InversionWeights
from purer_lightning.learners.base import Learner
from purer_lightning.nets.functional import Weights
from purer_lightning.seeding import generator


@dataclass
class CalibrationSettings:
    """Settings of ICFIL. The paper's values are not known.

    These were swept on meta-val of CIFAR-FS, 5-way, 1 and 5 shots: experiments/icfil_sweep.md. At 1 shot hardly any
    setting differs from the defaults; at 5 shots a rate of 0.03 adds half as much again, and 20 steps twice as
    much. Further inner steps without any calibration add about as much as either.

    Attributes:
        enabled: score with calibration beside without.
        temperature: tau of the contrastive loss.
        steps: gradient steps of the calibration.
        lr: step size of the calibration.
        images_per_class: pseudo support images a class.
        inversion_steps: Adam steps of the inversion.
        inversion_lr: Adam's rate on the pseudo images; 0.25 as in training.
        head_weight: weight of the cross-entropy on real and pseudo features, by which the head is calibrated too.
        priors: weights of PURER's priors. Further ones are none here: a saved meta-model keeps these settings, and
            a file must not name code that is run.
    """

    __pydantic_config__ = STRICT

    enabled: bool = True
    temperature: float = 0.5
    steps: int = 5
    lr: float = 0.1
    images_per_class: int = 1
    inversion_steps: int = 10
    inversion_lr: float = 0.25
    head_weight: float = 1.0
    priors: InversionWeights = field(default_factory=InversionWeights)

    def check(self) -> None:
        """Refuse what cannot be calibrated with.

        Not in ``__post_init__``: where None may be given instead, the parser would take the refusal for a type error.

        Raises:
            PurerError: a value out of its range.
        """
        if not 0 < self.temperature < math.inf:
            raise PurerError(
                f"Expected evaluation.calibration.temperature to be above 0 and finite, but got {self.temperature}."
            )
        least = {"steps": 0, "lr": 0, "images_per_class": 1, "inversion_steps": 0, "inversion_lr": 0}
        for name, lowest in least.items():
            if not lowest <= getattr(self, name) < math.inf:
                raise PurerError(
                    f"Expected evaluation.calibration.{name} to be at least {lowest} and finite, but got "
                    f"{getattr(self, name)}."
                )


def contrastive_loss(real: Tensor, labels: Tensor, pseudo: Tensor, temperature: float) -> Tensor:
    """Evaluate L_cal = -mean_i log( exp(z_i . zhat_{y_i} / tau) / sum_c exp(z_i . zhat_c / tau) ).

    Args:
        real: features of the real support images, (N, D); the anchors.
        labels: int64 (N,), 0 to way - 1.
        pseudo: one feature a class, (way, D), in the order of labels. ``calibrate`` passes the mean of the class's
            pseudo features. That is a decision of ours: the paper's figure shows one pseudo feature a class, and does
            not say what becomes of several pseudo images.
        temperature: tau > 0.

    Returns:
        Scalar. Features are l2-normalised here; the gradient flows through both branches.
    """
    similarity = F.normalize(real, dim=1) @ F.normalize(pseudo, dim=1).T
    return F.cross_entropy(similarity / temperature, labels)


def invert_adapted(
    learner: Learner, fast: Weights, support: Tensor, way: int, settings: CalibrationSettings, rng: torch.Generator
) -> Tensor:
    """Invert the adapted model into pseudo support images of the task's own labels.

    The meta-model's BatchNorm remembers no training data, so R_feature compares with the support batch's statistics.

    Returns:
        (way * images_per_class, C, H, W), normalised pixel space, ordered by label, without a graph.
    """
    with torch.no_grad():
        wanted = learner.run(fast, support, statistics=True).statistics
    labels = torch.arange(way, device=support.device).repeat_interleave(settings.images_per_class)
    drawn = torch.randn((len(labels), *support.shape[1:]), generator=rng)
    images = drawn.to(support).requires_grad_()
    optimizer = torch.optim.Adam([images], lr=settings.inversion_lr)
    priors = settings.priors.priors()
    for _ in range(settings.inversion_steps):
        terms = inversion_loss(learner.network, fast, images, labels, wanted, priors, learner.backend)
        (images.grad,) = torch.autograd.grad(terms["total"], images)
        optimizer.step()
    return images.detach()


def calibrate(
    learner: Learner,
    fast: Weights,
    support: Tensor,
    labels: Tensor,
    settings: CalibrationSettings,
    seed: int,
    task: int,
) -> Weights:
    """Return calibrated fast weights; the given ones and the meta-model's own stay as they are.

    Args:
        learner: whose network runs the weights.
        fast: adapted weights.
        support: the real support images, (N, C, H, W), normalised.
        labels: int64 (N,), 0 to way - 1.
        settings: see there.
        seed: the run's seed.
        task: number of the episode; with the seed it determines the pseudo images' start.

    Returns:
        Weights of the same names; in BatchNorm mode ``support`` with statistics taken anew.
    """
    # Batch statistics during calibration, whatever the mode: the adapted model is inverted and moved on this support.
    own = {name: fast[name].detach().requires_grad_() for name, _ in learner.network.named_parameters()}
    way = int(labels.max()) + 1
    frozen = {name: value.detach() for name, value in own.items()}
    pseudo = invert_adapted(learner, frozen, support, way, settings, generator(seed, "icfil", task))
    pseudo_labels = torch.arange(way, device=support.device).repeat_interleave(settings.images_per_class)
    for _ in range(settings.steps):
        real_features = learner.features(own, support)
        pseudo_features = learner.features(own, pseudo)
        class_means = pseudo_features.view(way, settings.images_per_class, -1).mean(dim=1)
        head = F.linear(torch.cat([real_features, pseudo_features]), own["head.weight"], own["head.bias"])
        loss = contrastive_loss(real_features, labels, class_means, settings.temperature)
        loss = loss + settings.head_weight * F.cross_entropy(head, torch.cat([labels, pseudo_labels]))
        gradients = torch.autograd.grad(loss, tuple(own.values()))
        own = {
            name: (value - settings.lr * gradient).detach().requires_grad_()
            for (name, value), gradient in zip(own.items(), gradients, strict=True)
        }
    return learner.with_support_statistics(own, support)
