"""A task: one dataset and the part that each of its columns plays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets

from ..configuration import check_name
from ..errors import InputError, check_known
from ..heads import LabelSource
from .inputs import LISTS, MEDIA, SEVERAL, check_inputs
from .media_columns import check_media_feature

__all__ = [
    "SPLITS",
    "Task",
    "label_sources",
    "load_splits",
    "make_source",
    "read_input",
    "read_labels",
]

SPLITS = ("train", "validation", "test")

_PACKAGED = ("arrow", "csv", "json", "parquet", "text")
"""Builders of `datasets` that read files of this machine."""


@dataclass(kw_only=True)
class Task:
    """
    One dataset, what the backbone reads of it, and which head each label column trains.

    Args:
        dataset (`datasets.DatasetDict` or `dict`):
            Splits by name (`train`, `validation`, `test`; others are left alone), or the arguments of
            `datasets.load_dataset`, `path` among them. A train split may be a `datasets.IterableDataset`.
        inputs (`dict[str, str]`):
            For each input its column. Text is one of `{"text": ...}`, `{"text": ..., "text_pair": ...}`,
            `{"tokens": ...}` for texts that are split into words, which heads that label words need,
            `{"question": ..., "context": ...}`, `{"choices": ...}` with or without a `text`, `{"sentences": ...}`,
            which are encoded apart, and `{"chosen": ..., "rejected": ...}` with or without a `text`; `choices` and
            `sentences` name a column with lists, or a list of columns. `{"images": ...}` stands alone or beside text,
            `{"audio": ...}` alone.
        labels (`dict[str, str]`):
            For each head the column with its labels; for heads whose labels have several parts a dict part -> column;
            None for heads that make their labels from the input.

    Raises:
        InputError: If the inputs, or the labels, are none of these.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"utterance": ["play jazz"], "intent": [0]})
        >>> Task(dataset={"train": rows}, inputs={"text": "utterance"}, labels={"intent": "intent"}).labels
        {'intent': 'intent'}
    """

    dataset: Any
    inputs: Mapping[str, str | list[str]]
    labels: Mapping[str, str | Mapping[str, str] | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_inputs(self.inputs)
        for name, column in self.inputs.items():
            several = name in ("choices", "sentences")
            if not isinstance(column, str) and not (several and isinstance(column, list) and column):
                expected = "a column, or a list of columns" if several else "a column"
                raise InputError(f"inputs, {name!r}: expected {expected}, found {column!r}.")
        for head, label in self.labels.items():
            parts = list(label.values()) if isinstance(label, Mapping) else [label]
            if label is not None and not all(isinstance(part, str) for part in parts):
                raise InputError(
                    f"labels, {head!r}: expected a column, a column for each part, or none, found {label!r}."
                )

    @property
    def input_columns(self) -> list[str]:
        """All columns that the backbone reads."""
        return list(_flat(self.inputs.values()))

    @property
    def reads_several(self) -> bool:
        """Whether a row may be several sequences."""
        return not SEVERAL.isdisjoint(self.inputs)

    @property
    def label_columns(self) -> list[str]:
        """All columns with labels."""
        parts = [list(each.values()) if isinstance(each, Mapping) else each for each in self.labels.values()]
        return list(_flat(part for part in parts if part is not None))


def _flat(columns: Iterable[str | list[str]]) -> Iterable[str]:
    for column in columns:
        yield from [column] if isinstance(column, str) else column


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
    check_known(task.input_columns, split.column_names, f"{where}, inputs", "column")
    check_known(task.label_columns, split.column_names, f"{where}, labels", "column")
    for part, columns in task.inputs.items():
        for column in _flat([columns]):
            alone = part not in LISTS or isinstance(columns, list)
            _check_input(f"{where}, column {column!r}", part, split.features[column], alone)


def _check_input(where: str, part: str, feature: Any, alone: bool) -> None:
    """Refuse an input column that holds something else than its input is read from."""
    lists = (datasets.List, datasets.LargeList)
    if part in MEDIA:
        check_media_feature(where, part, feature)
        return
    value = feature if alone else feature.feature if isinstance(feature, lists) else None
    if not isinstance(value, datasets.Value) or value.dtype not in ("string", "large_string"):
        expected = "texts" if alone else LISTS[part]
        raise InputError(f"{where}: expected {expected} for the input {part!r}, found {feature}.")


def read_input(task: Task, name: str, batch: Mapping[str, list[Any]]) -> list[Any]:
    """
    Values of an input: those of its column, or lists with the values of its columns.

    Args:
        task ([`Task`]): The task.
        name (`str`): The input.
        batch (`Mapping[str, list]`): Columns with their values.

    Returns:
        `list[Any]`: One value a row.
    """
    column = task.inputs[name]
    if isinstance(column, str):
        return batch[column]
    return [list(values) for values in zip(*(batch[each] for each in column), strict=True)]


def read_labels(task: Task, head: str, batch: Mapping[str, list[Any]], rows: int) -> list[Any]:
    """
    Values of a label, as [`HeadConfig.encode_labels`] takes them.

    Args:
        task ([`Task`]): The task.
        head (`str`): The head that the label trains.
        batch (`Mapping[str, list]`): Columns with their values.
        rows (`int`): Rows of the batch.

    Returns:
        `list[Any]`: One value a row; a dict where the label has several parts, True where no column is named.
    """
    column = task.labels[head]
    if isinstance(column, str):
        return batch[column]
    if column is None:
        return [True] * rows
    parts = zip(*(batch[each] for each in column.values()), strict=True)
    return [dict(zip(column, values, strict=True)) for values in parts]


def make_source(
    task_name: str,
    task: Task,
    head: str,
    features: Mapping[str, Any],
    read_columns: Callable[[list[str]], Mapping[str, list[Any]]],
) -> LabelSource:
    """
    Describe the label column, or columns, that a task has for a head.

    Args:
        task_name (`str`): The task.
        task ([`Task`]): Its columns.
        head (`str`): The head.
        features (`Mapping[str, Any]`): `datasets` features of the columns.
        read_columns (`Callable[[list[str]], Mapping[str, list]]`): Reads columns of the training split.

    Returns:
        [`LabelSource`].
    """
    column = task.labels[head]
    names: list[str] = task.input_columns[:1]
    feature: Any = None
    if isinstance(column, Mapping):
        names, feature = list(column.values()), {part: features[each] for part, each in column.items()}
    elif column is not None:
        names, feature = [column], features[column]

    def read() -> list[Any]:
        columns = read_columns(names)
        return read_labels(task, head, columns, len(columns[names[0]]))

    def read_other(name: str) -> list[Any]:
        if name not in task.inputs:
            raise InputError(f"task {task_name!r}: expected the input {name!r}, found {', '.join(task.inputs)}.")
        return read_input(task, name, read_columns(list(_flat([task.inputs[name]]))))

    return LabelSource(task_name, ", ".join(names), feature, read, read_other)


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
        for head in task.labels:
            source = make_source(task_name, task, head, split.features, _column_reader(split))
            sources.setdefault(head, []).append(source)
    return sources


def _column_reader(split: Any) -> Callable[[list[str]], Mapping[str, list[Any]]]:
    def read(columns: list[str]) -> Mapping[str, list[Any]]:
        if isinstance(split, datasets.IterableDataset):
            raise InputError(
                f"column {', '.join(columns)!r} is streamed and cannot be read beforehand: give the head its label "
                "names, class weights, mean and std."
            )
        values: Mapping[str, list[Any]] = split.select_columns(columns)[:]
        return values

    return read
