"""The metadata of a model card, in the words of the hub."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from ...heads import HeadConfig
from .contents import CardContents
from .scores import Score, find_scores

__all__ = ["LIBRARY", "card_metadata", "hub_dataset", "name_on_hub"]

LIBRARY = "mt_transformers"

_TASK_TYPES = {
    "audio_classification": "audio-classification",
    "causal_language_modeling": "text-generation",
    "dependency_parsing": "token-classification",
    "image_classification": "image-classification",
    "lemmatization": "token-classification",
    "masked_language_modeling": "fill-mask",
    "multiple_choice": "multiple-choice",
    "preference": "text-classification",
    "question_answering": "question-answering",
    "sentence_similarity": "sentence-similarity",
    "token_classification": "token-classification",
}
"""Head type -> the hub's name for what it does; that of the nearest task where there is none."""
_TASK_TYPES_BY_INPUT = {
    "encoded_image": "image-classification",
    "encoded_audio": "audio-classification",
    "encoded_text": "text-classification",
}
"""The same for heads that read anything."""

_METRICS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "answer_f1": ("f1", None),
    "entity_f1": ("f1", None),
    "entity_precision": ("precision", None),
    "entity_recall": ("recall", None),
    "f1_macro": ("f1", {"average": "macro"}),
    "f1_micro": ("f1", {"average": "micro"}),
    "f1_weighted": ("f1", {"average": "weighted"}),
    "pearson": ("pearsonr", None),
    "spearman": ("spearmanr", None),
}
"""Metric -> its name and arguments on hf.co/metrics, where they are others than here."""


_DATASET_FILE = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+?)[@/]")


def card_metadata(contents: CardContents) -> ModelCardData:
    """
    Put together the metadata.

    `library_name` is that of this package: for `transformers` the hub would show `AutoModel.from_pretrained`, which
    fails until mt_transformers is imported. There is no `pipeline_tag`, by which the hub would offer a pipeline of
    transformers: none runs several heads, and none builds this model.

    Args:
        contents ([`CardContents`]): What the card is made from.

    Returns:
        `ModelCardData`: With every result that is a number; NaN and infinities are no JSON, which the hub makes of it.
    """
    results = _eval_results(contents)
    datasets = dict.fromkeys([*contents.datasets.values(), *contents.dataset_tags])
    return ModelCardData(
        language=contents.language,
        license=contents.license,
        library_name=LIBRARY,
        base_model=name_on_hub(contents.base_model or _loaded_from(contents)),
        datasets=list(datasets) or None,
        tags=["multi-task", LIBRARY, *contents.tags],
        metrics=sorted({each.metric_type for each in results}) or None,
        model_name=contents.model_name,
        eval_results=results or None,
    )


def _loaded_from(contents: CardContents) -> str:
    """What a trained model was loaded from, or a new one's backbone."""
    return str(contents.model.name_or_path or contents.model.backbone.model.name_or_path)


def name_on_hub(name: str) -> str | None:
    """
    Tell names on the hub from folders, which say nothing to others.

    Args:
        name (`str`): A name, or a folder.

    Returns:
        `str`: The name; None if there is such a folder, or no repository can be called so.

    Example:
        >>> name_on_hub("google-bert/bert-base-uncased"), name_on_hub("/srv/bert"), name_on_hub("")
        ('google-bert/bert-base-uncased', None, None)
    """
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return name if name and not Path(name).exists() else None


def hub_dataset(dataset: Any) -> str | None:
    """
    Find the name on the hub of what a task loads.

    Args:
        dataset (`Any`): Splits, or the arguments of `datasets.load_dataset`.

    Returns:
        `str`: The name; None for splits, folders and files of this machine.

    Example:
        >>> hub_dataset({"path": "PolyAI/banking77"})
        'PolyAI/banking77'
        >>> hub_dataset({"path": "parquet", "data_files": "hf://datasets/DeepPavlov/snips/data/train.parquet"})
        'DeepPavlov/snips'
        >>> hub_dataset({"path": "parquet", "data_files": {"train": "train.parquet"}})
    """
    if not isinstance(dataset, Mapping) or not isinstance(dataset.get("path"), str):
        return None
    found = _DATASET_FILE.search(str(dataset.get("data_files")))
    if found is not None:
        return found[1]
    # a name without an owner may be that of a format, such as imagefolder
    return name_on_hub(dataset["path"]) if "/" in dataset["path"] else None


def _eval_results(contents: CardContents) -> list[EvalResult]:
    heads, types = contents.heads, _dataset_types(contents)
    return [
        _eval_result(score, heads[score.head], types[score.task_name], evaluation.split)
        for evaluation in contents.evaluations
        for score in find_scores(evaluation, contents.tasks, heads)
        if math.isfinite(score.value)
    ]


def _dataset_types(contents: CardContents) -> dict[str, str]:
    """
    For each task the name of its dataset on the hub; its own name where that is unknown, or shared with another task:
    in a model index the results of one dataset are one, under the name of the first.
    """
    counts = Counter(contents.datasets.get(name) for name in contents.tasks)
    return {name: _if_one(contents.datasets.get(name), counts) or name for name in contents.tasks}


def _if_one(dataset: str | None, counts: Counter[str | None]) -> str | None:
    return dataset if counts[dataset] == 1 else None


def _eval_result(score: Score, config: HeadConfig, dataset_type: str, split: str) -> EvalResult:
    metric, metric_args = _METRICS.get(score.metric, (score.metric, None))
    return EvalResult(
        task_type=_task_type(config),
        dataset_type=dataset_type,
        dataset_name=score.task_name,
        dataset_split=split,
        metric_type=metric,
        metric_name=f"{score.head} {score.metric}",
        metric_args=metric_args,
        metric_value=score.value,
    )


def _task_type(config: HeadConfig) -> str:
    found = _TASK_TYPES.get(config.head_type)
    if found is None and config.head_type in ("sequence_classification", "regression"):
        found = next((_TASK_TYPES_BY_INPUT[name] for name in config.inputs if name in _TASK_TYPES_BY_INPUT), None)
    return found or config.head_type.replace("_", "-")
