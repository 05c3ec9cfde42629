"""UpdateJudge: what the teachers of one update, and the meta-model, make of images; handed to ``Synthesis.move``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from purer_lightning.inversion.bank import ImageBank
from purer_lightning.inversion.gradient import ClassTeacher
from purer_lightning.inversion.loss import Terms


@dataclass(frozen=True)
class UpdateJudge:
    """See ``inversion.synthesis.Judge``.

    Attributes:
        update: number of the meta-update; negative in the initial inversion.
        teachers: that the update asks.
        classes: what they know between them; None for all.
        gradient: ``inversion_gradient`` but for teachers, images and classes.
        hardness: gradient of L_outer with respect to a bank's images; one episode, which each rank computes alike.
            None in the initial inversion.
        weight: lambda * I; 0 where the Gradient Switch has not fired.
    """

    update: int
    teachers: Sequence[ClassTeacher]
    classes: Tensor | None
    gradient: Callable[..., tuple[Terms, Tensor]]
    hardness: Callable[[ImageBank], Tensor] | None = None
    weight: float = 0.0

    def __call__(self, bank: ImageBank, teachers: Sequence[ClassTeacher] | None = None) -> tuple[Terms, Tensor]:
        """Return the terms of L_EI and the gradient of L_EI - lambda * I * L_outer; for some teachers that of L_EI."""
        asked = self.teachers if teachers is None else teachers
        terms, gradient = self.gradient(asked, bank.images, classes=bank.classes)
        if teachers is None and self.hardness is not None and self.weight > 0:
            own = ImageBank(bank.images.detach().requires_grad_(), bank.classes)
            gradient -= self.weight * self.hardness(own)
        return terms, gradient
