"""The model card of a saved meta-model: where it comes from, how good it was measured to be, how it is used."""

from collections.abc import Iterator, Mapping
from typing import Any

from purer_lightning.adaptation.loading import MetaModelRecord

TEXT = """\
# {title}

A small image classifier that learns new classes from a few pictures each. {origin} It was made with purer-lightning, an
independent implementation of [PURER](https://arxiv.org/abs/2303.11183).

## How to use

```python
from purer_lightning import MetaModel

model = MetaModel.from_pretrained("{name}")  # a local folder; or owner/name on the hub
support = model.read(["cat_1.jpg", "cat_2.jpg", "dog_1.jpg"])
classifier = model.adapt(support, ["cat", "cat", "dog"])
probabilities = classifier.predict(model.read(["which.jpg"]))  # columns: classifier.class_names
```

Or `purer adapt --ckpt_path {name} --support DIR --query DIR`, with one folder a class in
`--support`. Pictures of any size and format are brought to {channels} x {size} x {size} (shorter side resized, centre
cropped) and normalised by mean {mean} and deviation {std}.

## Training

{training}

## Results

{results}

## Limits

- Few-shot accuracy was measured on classes of one data set; on other pictures it can be far lower. Measure it on yours:
  `purer adapt` prints it where the query folder has class folders.
- Inverted images are made from the pool's classifiers and can reveal something of the data that those were trained on.
- The weights inherit what the pool's licence and that of its training data allow: see `license` above.
"""

ORIGINS = {
    "pool": "It was trained on what a pool of trained classifiers knows, without any of their training data.",
    "real": "It was trained on real images: it is a ceiling to compare with, not data-free.",
}


def origin_of(images: str | None) -> str:
    """Return a sentence on what a meta-model was trained on, by the name of its source of images."""
    if images is None:
        return "Nothing is known of its training."
    return ORIGINS.get(images, f"It was trained on images that `{images}` made, which is no part of purer-lightning.")


def model_card(record: MetaModelRecord, provenance: Mapping[str, Any], name: str, licence: str) -> str:
    """Return the card, a Markdown text under a YAML header by the hub's conventions.

    Args:
        record: what the meta-model is.
        provenance: as ``provenance_of`` returned it.
        name: of the folder.
        licence: identifier by the hub's list, such as "apache-2.0" or "unknown".
    """
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=test["dataset"],
            dataset_name=test["dataset"],
            dataset_split=test["split"],
            metric_type="accuracy",
            metric_name=f"accuracy ({method}), {test['way']}-way {test['shot']}-shot, {found['episodes']} episodes",
            metric_value=round(found["mean"], 4),
        )
        for test, method, found in _measured(provenance)
    ]
    header = ModelCardData(
        license=licence,
        library_name="purer-lightning",
        pipeline_tag="image-classification",
        tags=["few-shot", "meta-learning", "data-free", record.learner.lower()],
        model_name=name,
        eval_results=results or None,
    )
    size, (mean, std) = record.image_size, record.normalisation
    text = TEXT.format(
        title=name,
        name=name,
        origin=origin_of(provenance.get("images")),
        channels=record.channels,
        size=size,
        mean=[round(value, 4) for value in mean],
        std=[round(value, 4) for value in std],
        training=_training(record, provenance),
        results=_results(provenance),
    )
    return f"---\n{header.to_yaml()}\n---\n\n{text}"


def _training(record: MetaModelRecord, provenance: Mapping[str, Any]) -> str:
    said = {name: value for name, value in provenance.items() if name != "tests"}
    rows = {**said, "learner": record.learner, **{f"learner's {k}": v for k, v in record.settings.items()}}
    lines = [f"| {name} | {value} |" for name, value in rows.items() if value is not None]
    return "\n".join(["| setting | value |", "|---|---|", *lines])


def _measured(provenance: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str, dict[str, Any]]]:
    """Yield (test, method, its interval) for each method that was tested."""
    test = provenance.get("tests")
    for method in ("plain", "icfil"):
        if test and method in test["result"]:
            yield test, method, test["result"][method]


def _results(provenance: Mapping[str, Any]) -> str:
    lines = [
        f"| {test['dataset']}, {test['split']} | {test['way']}-way {test['shot']}-shot | {method} "
        f"| {test['batchnorm']} | {found['episodes']} | {_in_percent(found)} |"
        for test, method, found in _measured(provenance)
    ]
    if not lines:
        return "None of this checkpoint were found in the run's folder; `purer test` measures them."
    head = [
        "| data | task | method | BatchNorm | episodes | accuracy in %, 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    note = "\n\nTransductive: the query pictures were normalised together, which one picture alone does not allow."
    return "\n".join([*head, *lines]) + (note if provenance["tests"]["transductive"] else "")


def _in_percent(found: Mapping[str, Any]) -> str:
    half = "" if found["ci95"] is None else f" ± {100 * found['ci95']:.2f}"
    return f"{100 * found['mean']:.2f}{half}"
