"""A task: one dataset and the part that each of its columns plays."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets

from ..configuration import check_name
from ..errors import InputError, check_known
from ..heads import LabelSource

__all__ = ["SPLITS", "Task", "label_sources", "load_splits"]

SPLITS = ("train", "validation", "test")

_PACKAGED = ("arrow", "csv", "json", "parquet", "text")
"""Builders of `datasets` that read files of this machine."""

_INPUTS = ({"text"}, {"text", "text_pair"}, {"tokens"})


@dataclass(kw_only=True)
class Task:
    """
    One dataset, what the backbone reads of it, and which head each label column trains.

    Args:
        dataset (`datasets.DatasetDict` or `dict`):
            Splits by name (`train`, `validation`, `test`; others are left alone), or the arguments of
            `datasets.load_dataset`, `path` among them. A train split may be a `datasets.IterableDataset`.
        inputs (`dict[str, str]`):
            For each input its column: `{"text": ...}`, `{"text": ..., "text_pair": ...}`, or `{"tokens": ...}` for
            texts that are split into words, which heads that label words need.
        labels (`dict[str, str]`): For each head the column with its labels.

    Raises:
        InputError: If the inputs are none of these.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"utterance": ["play jazz"], "intent": [0]})
        >>> Task(dataset={"train": rows}, inputs={"text": "utterance"}, labels={"intent": "intent"}).labels
        {'intent': 'intent'}
    """

    dataset: Any
    inputs: dict[str, str]
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if set(self.inputs) not in _INPUTS:
            expected = "; ".join(", ".join(sorted(names)) for names in _INPUTS)
            raise InputError(f"inputs: expected one of [{expected}], found {sorted(self.inputs)}.")


def load_splits(task_name: str, task: Task) -> dict[str, datasets.Dataset]:
    """
    Get the splits of a task, and make sure that they have its columns.

    Args:
        task_name (`str`): The task.
        task ([`Task`]): What it consists of.

    Returns:
        `dict[str, datasets.Dataset]`: Those of `train`, `validation` and `test` that there are.

    Raises:
        InputError: If there is no such dataset, a split is empty, one for evaluation is streamed, or a column is
            missing.
    """
    check_name(task_name, "task")
    found = task.dataset
    if isinstance(found, Mapping) and "path" in found:
        found = _load_dataset(task_name, dict(found))
    if not isinstance(found, Mapping):
        raise InputError(f"task {task_name!r}: expected splits by name, found {type(found).__name__}.")
    splits = {name: found[name] for name in SPLITS if name in found}
    if not splits:
        raise InputError(f"task {task_name!r}: expected splits among {', '.join(SPLITS)}, found {sorted(found)}.")
    for name, split in splits.items():
        _check_split(task_name, task, name, split)
    return splits


def _load_dataset(task_name: str, arguments: dict[str, Any]) -> Any:
    for name, file in _local_files(arguments.get("data_files")):
        if arguments["path"] in _PACKAGED and not (Path(arguments.get("data_dir") or "") / file).exists():
            raise InputError(f"task {task_name!r}: the file {file} of split {name!r} does not exist.")
    try:
        return datasets.load_dataset(**arguments)
    except (OSError, ValueError, TypeError, datasets.exceptions.DatasetsError) as error:
        raise InputError(f"task {task_name!r}: the dataset {arguments['path']!r} cannot be loaded: {error}") from error


def _local_files(data_files: Any) -> list[tuple[str, str]]:
    """Files on this machine that are named without a pattern, with the split that they belong to."""
    by_split = data_files if isinstance(data_files, Mapping) else {"train": data_files}
    pairs = [
        (name, str(file))
        for name, files in by_split.items()
        for file in ([files] if isinstance(files, str | os.PathLike) else files or [])
    ]
    return [(name, file) for name, file in pairs if "://" not in file and not any(sign in file for sign in "*?[")]


def _check_split(task_name: str, task: Task, name: str, split: Any) -> None:
    where = f"task {task_name!r}, split {name!r}"
    streamed = isinstance(split, datasets.IterableDataset)
    if streamed and (name != "train" or split.features is None):
        expected = "a stream whose features are known (cast it to its features)" if name == "train" else "no stream"
        raise InputError(f"{where}: expected {expected}, found an IterableDataset.")
    if not streamed and not isinstance(split, datasets.Dataset):
        raise InputError(f"{where}: expected a datasets.Dataset, found {type(split).__name__}.")
    if not streamed and len(split) == 0:
        raise InputError(f"{where}: the split is empty.")
    check_known(list(task.inputs.values()), split.column_names, f"{where}, inputs", "column")
    check_known(list(task.labels.values()), split.column_names, f"{where}, labels", "column")
    for part, column in task.inputs.items():
        _check_input(f"{where}, column {column!r}", part, split.features[column])


def _check_input(where: str, part: str, feature: Any) -> None:
    """Refuse an input column that holds something else than texts, or lists of words."""
    element = feature.feature if isinstance(feature, datasets.List | datasets.LargeList) else None
    value = element if part == "tokens" else feature
    if not isinstance(value, datasets.Value) or value.dtype not in ("string", "large_string"):
        expected = "lists of words" if part == "tokens" else "texts"
        raise InputError(f"{where}: expected {expected} for the input {part!r}, found {feature}.")


def label_sources(
    tasks: Mapping[str, Task], splits: Mapping[str, Mapping[str, datasets.Dataset]]
) -> dict[str, list[LabelSource]]:
    """
    Find the label columns that train each head.

    Args:
        tasks (`Mapping[str, Task]`): The tasks.
        splits (`Mapping[str, Mapping[str, datasets.Dataset]]`): Their splits, as [`load_splits`] gives them.

    Returns:
        `dict[str, list[LabelSource]]`: For each head its label columns, in the order of the tasks.
    """
    sources: dict[str, list[LabelSource]] = {}
    for task_name, task in tasks.items():
        split = next(iter(splits[task_name].values()))
        for head, column in task.labels.items():
            feature = split.features[column]
            read = _column_reader(split, column)
            sources.setdefault(head, []).append(LabelSource(task_name, column, feature, read))
    return sources


def _column_reader(split: Any, column: str) -> Any:
    def read() -> list[Any]:
        if isinstance(split, datasets.IterableDataset):
            raise InputError(
                f"column {column!r} is streamed and cannot be read beforehand: give the head its label names, class "
                "weights, mean and std."
            )
        return list(split.select_columns(column)[:][column])

    return read
