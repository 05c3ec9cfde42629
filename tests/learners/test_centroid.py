"""Nearest centroid against loops over images and classes."""

from typing import Literal

import pytest
import torch
from torch import Tensor

import reference
from purer_lightning.learners.centroid import NearestCentroid

WAY = 3
LABELS = torch.tensor([2, 0, 1, 0, 2, 1, 1])  # in no order, and not the same number of each


def make_learner(batchnorm: Literal["transductive", "support"] = "transductive") -> NearestCentroid:
    learner = NearestCentroid("conv4", {"width": 4}, batchnorm)
    learner.build(WAY, 3, 16, seed=0)
    learner.network.load_state_dict(reference.make_network(2, WAY, remembers=False).state_dict())
    return learner.double().eval()


def pictures(count: int, seed: int) -> Tensor:
    return torch.randn(count, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def normalised(vector: Tensor) -> Tensor:
    return vector / reference.norm(vector)


def naive_similarities(support: Tensor, query: Tensor) -> Tensor:
    """Cosine of each query feature (rows) with each class's mean of normalised support features (columns)."""
    rows = []
    for q in query:
        row = []
        for label in range(WAY):
            own = [normalised(s) for s, y in zip(support, LABELS, strict=True) if int(y) == label]
            centroid = normalised(sum(own[1:], start=own[0]) / len(own))
            row.append((normalised(q) * centroid).sum())
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize("batchnorm", ["transductive", "support"])
def test_logits_are_cosines_with_the_class_centroids(batchnorm: Literal["transductive", "support"]) -> None:
    learner = make_learner(batchnorm)
    support, query = pictures(len(LABELS), 0), pictures(4, 1)
    parameters = reference.parameters_of(learner.network)
    support_features, seen = reference.conv4_features(parameters, support)
    query_features, _ = reference.conv4_features(parameters, query, seen if batchnorm == "support" else None)
    found = learner.logits(query, learner.adapt(learner.frozen_weights(), support, LABELS))
    torch.testing.assert_close(found, naive_similarities(support_features, query_features), rtol=1e-10, atol=1e-12)


def test_a_support_image_is_nearest_to_its_own_class_at_one_shot() -> None:
    learner = make_learner("support")
    images, labels = pictures(WAY, 0), torch.tensor([1, 2, 0])
    found = learner.logits(images, learner.adapt(learner.frozen_weights(), images, labels))
    torch.testing.assert_close(found[range(WAY), labels], torch.ones(WAY, dtype=torch.float64))
    assert torch.equal(found.argmax(dim=1), labels)
