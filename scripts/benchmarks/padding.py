"""Section `padding`: tokens that are computed for each real one. Nothing is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mt_transformers import Mixture, MultiTaskModel, Task

from .measure import Measure
from .settings import Settings
from .throughput import GROUPED
from .training_runs import TWEETS, classifier, load_tokenizer, make_trainer, read_rows, text_tasks

__all__ = ["computed_per_real", "measure"]

VARIANTS: dict[str, tuple[Mixture, dict[str, Any]]] = {
    "random, mixed": (Mixture(), {}),
    "random, homogeneous": (Mixture(batches="homogeneous"), {}),
    f"{GROUPED['train_sampling_strategy']}, mixed": (Mixture(), GROUPED),
    f"{GROUPED['train_sampling_strategy']}, homogeneous": (Mixture(batches="homogeneous"), GROUPED),
}


def computed_per_real(lengths: np.ndarray, batches: Iterable[Sequence[int]]) -> float:
    """
    Tokens of padded batches for each token of their rows.

    Args:
        lengths (`np.ndarray` of shape `(rows,)`): Tokens of each row.
        batches (`Iterable[Sequence[int]]`): Numbers of the rows of each batch.

    Returns:
        `float`: 1.0 where all rows of a batch are of one length.

    Example:
        >>> computed_per_real(np.array([4, 2, 2]), [[0, 1], [2]])
        1.25
    """
    computed = real = 0
    for batch in batches:
        own = lengths[np.asarray(batch)]
        computed += int(own.max()) * len(own)
        real += int(own.sum())
    return computed / real


def measure(settings: Settings) -> list[Measure]:
    """
    Count over an epoch of TweetEval, SNIPS and BANKING77, for each way to put batches together.

    Args:
        settings ([`Settings`]): Sizes of the batches; all rows are counted.

    Returns:
        `list[Measure]`: One value each, for an epoch is settled by its seed.
    """
    tasks = text_tasks(settings.data, {**{name: f"tweeteval_{name}" for name in TWEETS}, "banking77": "banking77"})
    labels = {name: task.dataset["train"].features["label"].names for name, task in tasks.items()}
    snips = read_rows(settings.data, "snips", "train")
    tasks["snips"] = Task(dataset={"train": snips}, inputs={"tokens": "tokens"}, labels={"snips": "intent"})
    labels["snips"] = snips.features["intent"].names
    model = MultiTaskModel.from_backbone(
        settings.backbone, heads={name: classifier(names) for name, names in labels.items()}
    )
    tokenizer = load_tokenizer(settings)
    measures = []
    for name, (mixture, arguments) in VARIANTS.items():
        trainer = make_trainer(model, tasks, tokenizer, settings, mixture, **arguments)
        loader: Any = trainer.get_train_dataloader()
        lengths = np.concatenate([np.asarray(trainer.splits[task]["train"]["length"]) for task in tasks])
        measures.append(Measure("padding", name, [computed_per_real(lengths, loader.batch_sampler)], "tokens/token"))
    return measures
