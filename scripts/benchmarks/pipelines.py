"""Section `pipelines`: all heads of one model in one pass, against a pipeline for each, and the backbone alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, pipeline

from mt_transformers import MultiTaskModel
from mt_transformers.inference.batches import batches_by_length

from .measure import Measure, alternate, clock, ratio
from .settings import Settings
from .training_runs import TWEETS, classifier, load_tokenizer, read_rows

__all__ = ["measure"]

_WARM_UP = 64
"""Texts of the first call of each variant, which does not count."""


def measure(settings: Settings) -> list[Measure]:
    """
    Classify the same texts by four heads: with one model, with four pipelines; and encode them only.

    Args:
        settings ([`Settings`]): Sizes of the run; `rows` is the number of texts.

    Returns:
        `list[Measure]`: Seconds of each, how much faster one model is than four, and what it costs more than the
        backbone and the tokenizer alone, on the same batches.
    """
    texts = _texts(settings)
    labels = {name: read_rows(settings.data, f"tweeteval_{name}", "validation").features["label"] for name in TWEETS}
    model = MultiTaskModel.from_backbone(
        settings.backbone, heads={name: classifier(label.names) for name, label in labels.items()}
    )
    tokenizer = load_tokenizer(settings)
    options: dict[str, Any] = {"tokenizer": tokenizer, "device": settings.device, "batch_size": settings.batch_size}
    singles = [
        pipeline("text-classification", model=_single(settings, label.num_classes), **options, truncation=True)
        for label in labels.values()
    ]
    variants: dict[str, Callable[[Sequence[str]], object]] = {
        "one multi-task pipeline": pipeline("multi-task", model=model, **options),
        "four pipelines": lambda rows: [single(list(rows)) for single in singles],
        "backbone and tokenizer alone": partial(_encode, model, tokenizer, settings),
    }
    for run in variants.values():
        run(texts[:_WARM_UP])
    timed = {name: partial(_time, run, texts, settings.device) for name, run in variants.items()}
    seconds = alternate(timed, settings.repeats, "pipelines", warm_up=0)
    one, four, alone = seconds.values()
    return [
        *(Measure("pipelines", f"{len(texts)} texts, {name}", own, "s") for name, own in seconds.items()),
        Measure("pipelines", "four pipelines / one multi-task pipeline", ratio(four, one), "x", at_least=4.5),
        Measure("pipelines", "one multi-task pipeline / backbone alone", ratio(one, alone), "x", at_most=1.05),
    ]


def _texts(settings: Settings) -> list[str]:
    """Tweets of all four data sets in turn, as a service would see them."""
    columns = [read_rows(settings.data, f"tweeteval_{name}", "train")["text"] for name in TWEETS]
    mixed = [text for texts in zip(*columns, strict=False) for text in texts]
    return mixed[: settings.rows]


def _single(settings: Settings, num_labels: int) -> Any:
    config = AutoConfig.from_pretrained(settings.backbone, num_labels=num_labels)
    # the classifier is new; the time of a pass does not depend on it
    return AutoModelForSequenceClassification.from_config(config).eval()


@torch.inference_mode()
def _encode(model: MultiTaskModel, tokenizer: Any, settings: Settings, texts: Sequence[str]) -> None:
    """The least that any answer costs: the batches of the pipeline, tokenized and encoded."""
    backbone = model.backbone.model
    length = backbone.config.max_position_embeddings
    for batch in batches_by_length([{"text": text} for text in texts], settings.batch_size):
        rows = [texts[number] for number in batch]
        inputs = tokenizer(rows, padding=True, truncation=True, max_length=length, return_tensors="pt")
        backbone(**inputs.to(settings.device))


def _time(run: Callable[[Sequence[str]], object], texts: Sequence[str], device: str) -> float:
    start = clock(device)
    run(texts)
    return clock(device) - start
