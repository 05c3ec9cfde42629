"""Parameters and multiply-accumulates against numbers computed by hand."""

from itertools import pairwise

import pytest
import torch

from purer_lightning.learners import R2D2, FeatureClassifier, Learner, Maml, ProtoNet
from purer_lightning.learners.cost import Cost, network_cost, with_classifier
from purer_lightning.nets import NetworkSpec

# Conv4 with 32 filters on 3 x 32 x 32. Convolutions: positions * filters * inputs * 9, and filters * (inputs * 9 + 1).
MACS = 1024 * 32 * 27 + 256 * 32 * 288 + 64 * 32 * 288 + 16 * 32 * 288
PARAMETERS = (27 + 1) * 32 + 3 * (288 + 1) * 32 + 4 * 2 * 32  # the last: BatchNorm's scales and shifts
WIDTH = 32 * 2 * 2


def built(learner: Learner) -> Learner:
    learner.build(5, 3, 32, seed=0)
    return learner


def test_conv4_costs_what_was_counted_by_hand() -> None:
    assert (PARAMETERS, MACS) == (28_896, 3_981_312)
    spec = NetworkSpec("conv4", 64, 3, 32)
    assert network_cost(spec, "features") == Cost(PARAMETERS, MACS, WIDTH)
    assert network_cost(spec) == Cost(PARAMETERS + (WIDTH + 1) * 64, MACS + WIDTH * 64, 64)


def test_a_resnets_strides_and_shortcuts_are_counted() -> None:
    widths, sizes = [4, 4, 8, 16, 32], [16, 16, 8, 4, 2]
    macs = 16 * 16 * 4 * 27
    for (inputs, outputs), size in zip(pairwise(widths), sizes[1:], strict=True):
        shortcut = inputs if inputs != outputs else 0
        macs += size * size * outputs * (9 * inputs + 9 * outputs + shortcut)
    assert network_cost(NetworkSpec("resnet10", 5, 3, 16, {"width": 4}), "features")[1:] == (macs, 32)


def test_the_parameters_are_those_of_the_real_network() -> None:
    spec = NetworkSpec("resnet18", 7, 1, 16, {"width": 4})
    with torch.random.fork_rng():
        network = spec.build(running_statistics=False)
    assert network_cost(spec).parameters == sum(parameter.numel() for parameter in network.parameters())


def test_counting_draws_nothing_from_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    network_cost(NetworkSpec())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_networks_side_by_side_share_one_classifier() -> None:
    assert with_classifier([Cost(10, 100, 3), Cost(20, 200, 4)], way=5) == Cost(30 + 35, 300 + 35, 5)


@pytest.mark.parametrize(
    ("learner", "parameters", "macs"),
    [
        (Maml(), PARAMETERS + (WIDTH + 1) * 5, MACS + WIDTH * 5),
        (Maml(outputs=64), PARAMETERS + (WIDTH + 1) * 5, MACS + WIDTH * 5),
        (FeatureClassifier(outputs=64), PARAMETERS + WIDTH * 5, MACS + WIDTH * 5),
        (
            FeatureClassifier(outputs=64, representation="logits"),
            PARAMETERS + (WIDTH + 1) * 64 + 64 * 5,
            MACS + WIDTH * 64 + 64 * 5,
        ),
        (ProtoNet(), PARAMETERS + WIDTH * 5, MACS + WIDTH * 5),
        (R2D2(), PARAMETERS + WIDTH * 5, MACS + WIDTH * 5),
    ],
)
def test_every_learner_says_what_a_query_costs(learner: Learner, parameters: int, macs: int) -> None:
    said = built(learner).describe()
    assert (said["parameters"], said["macs_per_query"]) == (parameters, macs)


def test_what_is_not_built_has_no_cost_yet() -> None:
    assert "parameters" not in Maml().describe()
