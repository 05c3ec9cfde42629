"""The Gradient Switch as a table: accuracies of updates 0, 1, ... in, numbers of the adversarial updates out."""

import json

import pytest

from purer_lightning.inversion.curriculum import CurriculumSettings, GradientSwitch

RISING = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
UNEVEN = [0.3, 0.5, 0.4, 0.6, 0.5, 0.6, 0.2, 0.9, 0.1, 0.1, 0.1, 0.2, 0.2, 0.1]


def adversarial_updates(switch: GradientSwitch, accuracies: list[float], first: int = 0) -> list[int]:
    """Return the numbers of the updates whose data step is adversarial."""
    fired = []
    for update, accuracy in enumerate(accuracies, start=first):
        if switch.on:
            fired.append(update)
        switch.observe(accuracy)
    return fired


@pytest.mark.parametrize(
    ("settings", "accuracies", "wanted"),
    [
        pytest.param(CurriculumSettings(True, 3, 6), RISING, [3], id="fires once when the warm-up of 3 is over"),
        pytest.param(CurriculumSettings(True, 6, 6), RISING, [], id="not before the warm-up is over"),
        pytest.param(CurriculumSettings(True, 0, 6), RISING, [0], id="no warm-up: the first data step"),
        pytest.param(CurriculumSettings(True, 0, 2), [0.5, 0.4, 0.4, 0.4], [0, 3], id="patience reached exactly"),
        pytest.param(CurriculumSettings(True, 0, 2), [0.5, 0.4], [0], id="patience not yet reached"),
        pytest.param(CurriculumSettings(True, 0, 2), [0.5, 0.5, 0.5, 0.5], [0, 3], id="a tie is no new best"),
        pytest.param(CurriculumSettings(True, 0, 2), [0.5, 0.4, 0.6, 0.5, 0.6, 0.1], [0, 5], id="a new best resets"),
        pytest.param(CurriculumSettings(True, 0, 6), [0.5] * 8, [0, 7], id="six updates in a row, as released"),
        pytest.param(CurriculumSettings(True, 0, 1), [0.5, 0.4, 0.3, 0.2, 0.1], [0, 2, 4], id="best starts anew"),
        pytest.param(CurriculumSettings(True, 1, 2), [0.9, 0.5, 0.6, 0.7, 0.8], [1], id="warm-up's best is forgotten"),
        pytest.param(CurriculumSettings(True, 0, 2), [0.0, 0.0, 0.0], [0, 2], id="an accuracy of 0 is no new best"),
        pytest.param(CurriculumSettings(False, 0, 1), [0.5, 0.4, 0.3, 0.2], [], id="disabled never fires"),
        pytest.param(CurriculumSettings(False, 2, 1), [0.5, 0.4, 0.3, 0.2], [], id="disabled, with warm-up"),
    ],
)
def test_updates_whose_data_step_is_adversarial(
    settings: CurriculumSettings, accuracies: list[float], wanted: list[int]
) -> None:
    assert adversarial_updates(GradientSwitch(settings), accuracies) == wanted


def test_defaults_are_the_released_codes() -> None:
    assert CurriculumSettings() == CurriculumSettings(enabled=True, warm_up=4000, patience=6, weight=10.0)


def test_weight_is_lambda_for_adversarial_data_steps_and_zero_for_others() -> None:
    switch = GradientSwitch(CurriculumSettings(warm_up=1, weight=7.0))
    weights = []
    for accuracy in (0.5, 0.6, 0.7):
        weights.append(switch.weight)
        switch.observe(accuracy)
    assert weights == [0.0, 7.0, 0.0]


def test_firings_and_waiting_are_counted() -> None:
    switch = GradientSwitch(CurriculumSettings(warm_up=0, patience=2))
    seen = []
    for accuracy in (0.5, 0.4, 0.3, 0.2, 0.1):
        switch.observe(accuracy)
        seen.append((switch.firings, switch.waiting))
    assert seen == [(1, 0), (1, 1), (2, 0), (2, 0), (2, 1)]


@pytest.mark.parametrize("cut", range(len(UNEVEN)))
def test_state_saved_in_mid_sequence_as_plain_types_gives_the_same_continuation(cut: int) -> None:
    settings = CurriculumSettings(warm_up=2, patience=2)
    whole = adversarial_updates(GradientSwitch(settings), UNEVEN)
    first, second = GradientSwitch(settings), GradientSwitch(settings)
    before = adversarial_updates(first, UNEVEN[:cut])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert before + adversarial_updates(second, UNEVEN[cut:], first=cut) == whole
    assert len(whole) > 2
    assert second.settings == settings
