"""A web server's threads may share a meta-model and its classifiers: each gets the bits that one alone would get."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from purer_lightning.adaptation.meta_model import load
from purer_lightning.learners import FeatureClassifier, Learner, Maml
from runs import GREY, WIDTH, built, pictures, write_run

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
QUERY = torch.tensor([2, 0, 1, 1])
LEARNERS = {
    "maml": Maml("conv4", WIDTH, inner_lr=0.1),
    "centroid": FeatureClassifier("conv4", WIDTH, batchnorm="running", representation="logits", outputs=9),
}


@pytest.mark.parametrize("made", LEARNERS.values(), ids=LEARNERS)
def test_eight_threads_adapt_and_predict_as_one_does(made: Learner, tmp_path: Path) -> None:
    model = load(write_run(tmp_path, built(made, channels=1), GREY))
    query = pictures(QUERY, channels=1)

    def adapt_and_predict(task: int) -> Tensor:
        support = pictures(LABELS.roll(task), channels=1, seed=task)
        classifier = model.adapt(support, LABELS.roll(task), icfil=task % 2 == 1 and model.learner.calibratable)
        return classifier.predict(query)

    alone = [adapt_and_predict(task) for task in range(16)]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(adapt_and_predict, range(16)))
    assert all(map(torch.equal, together, alone))
    assert not torch.equal(alone[0], alone[1])


def test_two_classifiers_of_one_meta_model_answer_from_eight_threads_as_from_one(tmp_path: Path) -> None:
    model = load(write_run(tmp_path, built(LEARNERS["maml"], channels=1), GREY))
    images, query = pictures(LABELS, channels=1), pictures(QUERY, channels=1)
    pair = [model.adapt(images, LABELS), model.adapt(images, LABELS.flip(0))]
    alone = [classifier.predict(query) for classifier in pair]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: pair[number % 2].predict(query), range(200)))
    assert all(torch.equal(answer, alone[number % 2]) for number, answer in enumerate(answers))
