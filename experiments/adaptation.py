"""Measures on meta-val what `purer adapt` decides by itself, and prints the tables that are kept in adaptation.md.

OMP_NUM_THREADS=1 .venv/bin/python experiments/adaptation.py MAML_RUN STUDENT_RUN [TASKS] > experiments/adaptation.md
"""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from formatting import markdown, percent
from purer_lightning.adaptation import meta_model
from purer_lightning.adaptation.classifier import AdaptedClassifier
from purer_lightning.adaptation.meta_model import MetaModel, load
from purer_lightning.data.splits import ImageSplit, open_split
from purer_lightning.evaluation.metrics import interval
from purer_lightning.learners.maml import HEAD, prototype_head
from purer_lightning.nets import functional as nets
from purer_lightning.nets.functional import Weights
from purer_lightning.seeding import generator
from run import code_state

QUERY = 15
UNEQUAL = (1, 2, 5, 10, 20)  # support pictures of the five classes
HEADS = ("cosine", "ridge", "logistic")
BINS = 15  # of the expected calibration error, as in Guo et al. 2017


class Task(NamedTuple):
    """A support set and a query set, as uint8 pictures with their labels."""

    support: Tensor
    support_labels: Tensor
    query: Tensor
    query_labels: Tensor


def draw(split: ImageSplit, shots: Sequence[int], number: int) -> Task:
    """Draw task ``number``: distinct classes in a random order, the first with ``shots[0]`` pictures, and so on."""
    rng = generator(0, "adaptation", len(shots), *shots, number)
    classes = torch.randperm(len(split.class_ids), generator=rng)[: len(shots)].tolist()
    support, query = [], []
    for position, shot in zip(classes, shots, strict=True):
        slots = torch.randperm(int(split.counts[position]), generator=rng)
        support.append(split.pictures(position, slots[:shot]))
        query.append(split.pictures(position, slots[shot : shot + QUERY]))
    labels = torch.arange(len(shots))
    counted = labels.repeat_interleave(torch.tensor(shots))
    return Task(torch.cat(support), counted, torch.cat(query), labels.repeat_interleave(QUERY))


def classify(model: MetaModel, task: Task) -> AdaptedClassifier:
    """Adapt to a task's support set."""
    return model.adapt(task.support, task.support_labels)


def accuracies(model: MetaModel, tasks: Sequence[Task], **instead: Callable[..., Any]) -> Tensor:
    """Return one accuracy a task, with other functions in place of those of these names in ``meta_model``."""
    # The temperature changes no label and costs five adaptations.
    changed = {"folds": lambda _: iter(()), **instead}
    kept = {name: getattr(meta_model, name) for name in changed}
    vars(meta_model).update(changed)
    try:
        answers = [classify(model, task).logits(task.query).argmax(dim=1) for task in tasks]
    finally:
        vars(meta_model).update(kept)
    return torch.stack([(a == task.query_labels).float().mean() for a, task in zip(answers, tasks, strict=True)])


def compared(*columns: Tensor) -> list[str]:
    """Return each column's mean and interval, and the last one's paired difference from the first."""
    shown = [percent(interval(column)._asdict()) for column in columns]
    return [*shown, percent(interval(columns[-1] - columns[0])._asdict())]


def with_settings(model: MetaModel, **changed: Any) -> MetaModel:
    """Return the meta-model with other settings of its learner."""
    record = replace(model.record, settings=model.record.settings | changed)
    return MetaModel(model.stored._replace(record=record), "the run")


def once(labels: Tensor) -> Tensor:
    """Show every picture once, in place of ``repeated``."""
    return torch.arange(len(labels))


Start = Callable[[Tensor, Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]]


def zero(weight: Tensor, bias: Tensor, features: Tensor, labels: Tensor, way: int) -> tuple[Tensor, Tensor]:
    """Start from no head at all."""
    del features, labels
    return weight.new_zeros(way, weight.shape[1]), bias.new_zeros(way)


def rows(weight: Tensor, bias: Tensor, features: Tensor, labels: Tensor, way: int) -> tuple[Tensor, Tensor]:
    """Start from the trained head's rows, over and over."""
    del features, labels
    taken = torch.arange(way) % len(bias)
    return weight[taken].clone(), bias[taken].clone()


def prototypes(weight: Tensor, bias: Tensor, features: Tensor, labels: Tensor, way: int) -> tuple[Tensor, Tensor]:
    """Start from ``prototype_head``."""
    del weight, bias
    return prototype_head(features, labels, way)


def started(model: MetaModel, head: Start, tasks: Sequence[Task]) -> Tensor:
    """Return accuracies where MAML's head starts as ``head`` says."""

    class Started(type(model.learner)):  # type: ignore[misc]  # the class is known at run time only
        def start(self, weights: Weights, support: Tensor, labels: Tensor) -> Weights:
            features = nets.features(self.caller(weights), weights, support)
            weight, bias = (weights[name] for name in HEAD)
            return weights | dict(zip(HEAD, head(weight, bias, features, labels, self.way), strict=True))

    Started.__name__ = model.record.learner
    return accuracies(MetaModel(model.stored, "the run", own=Started), tasks)


def calibration(probabilities: Tensor, labels: Tensor) -> float:
    """Return the expected calibration error (Guo et al. 2017): mean distance of confidence from accuracy, by bins."""
    confidence, answers = probabilities.max(dim=1)
    right = (answers == labels).double()
    bins = (confidence * BINS).long().clamp(max=BINS - 1)
    gaps = [(confidence[bins == b].double() - right[bins == b]).sum().abs() for b in range(BINS)]
    return float(sum(gaps) / len(labels))


def probabilities_table(models: dict[str, MetaModel], split: ImageSplit, tasks: int) -> str:
    """Return calibration errors without and with the temperature."""
    lines = []
    for name, model in models.items():
        for shot in (2, 5, 20):
            plain, scaled, labels = [], [], []
            for task in (draw(split, (shot,) * 5, number) for number in range(tasks)):
                classifier = classify(model, task)
                plain.append(classifier.logits(task.query).softmax(dim=1))
                scaled.append(classifier.predict(task.query))
                labels.append(task.query_labels)
            truths = torch.cat(labels)
            cells = [torch.cat(column) for column in (plain, scaled)]
            errors = [f"{calibration(cell, truths):.3f}" for cell in cells]
            losses = [f"{F.nll_loss(cell.clamp(min=1e-7).log(), truths):.2f}" for cell in cells]
            lines.append([name, f"{shot}", *errors, *losses])
    header = ["learner", "shot", "error, softmax alone", "error, with temperature", "log loss, alone", "log loss, with"]
    return markdown(header, lines)


def report(maml_run: str, student_run: str, tasks: int = 100) -> None:
    """Print the four tables, then the command and the commit that printed them."""
    state = code_state()
    split = open_split("data", "cifar_fs", "val")
    maml, student = load(maml_run), load(student_run)
    models = {"MAML": maml} | {f"student, {head}": with_settings(student, head=head) for head in HEADS}

    print(f"What `purer adapt` decides by itself, on meta-val of CIFAR-FS, {tasks} tasks a line, accuracy in %.\n")
    print("## Unequal numbers of pictures\n")
    print(
        f"Five classes with {', '.join(map(str, UNEQUAL))} pictures; those of small classes shown once, or repeated.\n"
    )
    unequal = [draw(split, UNEQUAL, number) for number in range(tasks)]
    lines = [[n, *compared(accuracies(m, unequal, repeated=once), accuracies(m, unequal))] for n, m in models.items()]
    print(markdown(["learner", "shown once", "repeated", "difference, paired"], lines), flush=True)

    print("\n## MAML with other numbers of classes\n\n5 pictures each; the head before the inner loop.\n")
    lines = []
    for way in (2, 3, 5, 8, 16):
        equal = [draw(split, (5,) * way, number) for number in range(tasks)]
        lines.append([str(way), *compared(*(started(maml, start, equal) for start in (zero, rows, prototypes)))])
    print(markdown(["classes", "zero", "trained rows", "prototypes", "prototypes - zero, paired"], lines), flush=True)

    print("\n## Whose BatchNorm statistics (MAML, 5 classes)\n")
    lines = []
    for shot in (1, 5):
        equal = [draw(split, (shot,) * 5, number) for number in range(tasks)]
        alone, together = maml, load(maml_run, batchnorm="transductive")
        lines.append([str(shot), *compared(accuracies(together, equal), accuracies(alone, equal))])
    print(markdown(["shot", "transductive", "support", "support - transductive, paired"], lines), flush=True)

    print("\n## Probabilities (5 classes): expected calibration error and log loss\n")
    print(probabilities_table(models, split, tasks))
    print(f"\nPrinted by `OMP_NUM_THREADS=1 .venv/bin/python {shlex.join(sys.argv)}` at commit {state}.")


if __name__ == "__main__":
    report(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
