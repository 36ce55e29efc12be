"""Section `latency`: one text and a batch of texts, by torch and by ONNX Runtime, with float32 or int8 weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from mt_transformers import MultiTaskModel, MultiTaskPredictor
from mt_transformers.inference.export import load_exported, trace_onnx

from .measure import Measure, alternate, ratio
from .settings import Settings
from .training_runs import TWEETS, classifier, load_tokenizer, read_rows

__all__ = ["measure"]

SINGLE_TEXTS = 16
"""Texts that are answered one by one in a repeat."""


def measure(settings: Settings) -> list[Measure]:
    """
    Answer tweets with four classifiers on the pretrained backbone, on the CPU and on as many threads as torch has.

    Args:
        settings ([`Settings`]): Backbone, data, batch size and repeats.

    Returns:
        `list[Measure]`: For one text and for a batch, of the model's pass alone and from the text to the answers:
        milliseconds of each variant, and what the exported ones take of torch's time.
    """
    rows = {name: read_rows(settings.data, f"tweeteval_{name}", "validation") for name in TWEETS}
    texts = [row["text"] for row in rows[TWEETS[0]].select(range(settings.batch_size))]
    heads = {name: classifier(each.features["label"].names) for name, each in rows.items()}
    model = MultiTaskModel.from_backbone(settings.backbone, heads=heads)
    tokenizer = load_tokenizer(settings)
    with TemporaryDirectory() as folder:
        export = trace_onnx(model, tokenizer)
        variants: dict[str, Any] = {"torch": model}
        for name, each in {"onnx": export, "int8": export.quantize()}.items():
            each.save(Path(folder) / name)
            variants[name] = load_exported(Path(folder) / name)[0]
        return [
            *_compare(settings, f"batch of {len(texts)}", variants, tokenizer, [texts]),
            *_compare(settings, "one text", variants, tokenizer, [[text] for text in texts[:SINGLE_TEXTS]]),
        ]


def _compare(
    settings: Settings, what: str, variants: dict[str, Any], tokenizer: Any, batches: Sequence[list[str]]
) -> list[Measure]:
    """Time these batches, one after the other: the pass alone, and the whole way from texts to answers."""
    encoded = [
        dict(tokenizer(batch, padding=True, truncation=True, max_length=settings.max_length, return_tensors="pt"))
        for batch in batches
    ]
    measures = []
    for part in ("pass", "texts to answers"):
        runs: dict[str, Callable[[], float]] = {}
        for name, model in variants.items():
            if part == "pass":
                runs[name] = partial(_time, lambda inputs, model=model: model(**inputs), encoded)
            else:
                predictor = MultiTaskPredictor(model, tokenizer, batch_size=settings.batch_size)
                runs[name] = partial(_time, predictor, batches)
        seconds = alternate(runs, settings.repeats, f"latency, {what}, {part}")
        what_part = f"{what}, {part}"
        measures += [
            Measure("latency", f"{what_part}, {name}", [1000 * each for each in own], "ms")
            for name, own in seconds.items()
        ]
        measures += [
            Measure("latency", f"{what_part}, {name} / torch", ratio(own, seconds["torch"]), "x")
            for name, own in seconds.items()
            if name != "torch"
        ]
    return measures


@torch.inference_mode()
def _time(function: Callable[[Any], object], batches: Sequence[Any]) -> float:
    """Seconds a batch."""
    start = time.perf_counter()
    for batch in batches:
        function(batch)
    return (time.perf_counter() - start) / len(batches)
