"""The Gradient Switch of Episode Curriculum Inversion: decides when images become harder (PURER, ECI)."""

from dataclasses import dataclass
from typing import Any


@dataclass
class CurriculumSettings:
    """Settings of the curriculum; the defaults are those of the released code of PURER.

    Attributes:
        enabled: False is plain Episode Inversion (EI), True is Episode Curriculum Inversion (ECI).
        warm_up: meta-updates before the first adversarial data step.
        patience: meta-updates in a row without a new best accuracy after which the switch fires.
        weight: lambda, the weight of the adversarial term in a data step for which the switch has fired.
    """

    enabled: bool = True
    warm_up: int = 4000
    patience: int = 6
    weight: float = 10.0


class GradientSwitch:
    """Decides from the meta-model's accuracy whether the next data step is adversarial (I = 1) or not (I = 0).

    After ``warm_up`` updates it fires once unconditionally. From then on it keeps the best accuracy of an update, and
    after ``patience`` updates in a row without a new best it fires. Each firing starts best and counter anew.

    Attributes:
        on: I of the next data step.
        firings: how often it has fired.
        waiting: updates in a row without a new best accuracy.
    """

    def __init__(self, settings: CurriculumSettings) -> None:
        self.settings = settings
        self.updates = 0
        self.best = 0.0
        self.waiting = 0
        self.firings = 0
        self.on = False
        if settings.enabled and settings.warm_up == 0:
            self._fire()

    @property
    def weight(self) -> float:
        """Weight of the adversarial term in the next data step: lambda * I."""
        return self.settings.weight if self.on else 0.0

    def observe(self, accuracy: float) -> None:
        """Take in the mean pseudo-query accuracy (0 to 1) of the meta-update that has just been made."""
        self.updates += 1
        self.on = False
        if not self.settings.enabled or self.updates < self.settings.warm_up:
            return
        if self.updates == self.settings.warm_up:
            self._fire()
        elif accuracy > self.best:
            self.best, self.waiting = accuracy, 0
        else:
            self.waiting += 1
            if self.waiting >= self.settings.patience:
                self._fire()

    def _fire(self) -> None:
        self.on = True
        self.firings += 1
        self.best, self.waiting = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """Everything but the settings, as plain types."""
        return {name: value for name, value in vars(self).items() if name != "settings"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken; the settings stay those given at construction."""
        vars(self).update(state)
