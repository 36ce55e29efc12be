"""Which rows have which value, read a column at a time."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc

from ..data import Task
from ..errors import InputError
from ..heads import IGNORED, LabelSource, SequenceClassificationHeadConfig
from ..heads.labels import label_ids

__all__ = ["distinct_values", "name_labels", "read_label_ids", "rows_by_group", "warn_of_lost_rows"]


def distinct_values(split: datasets.Dataset, column: str) -> tuple[list[Any], np.ndarray]:
    """
    Find the values of a column.

    Args:
        split (`datasets.Dataset`): The rows.
        column (`str`): The column.

    Returns:
        `tuple[list[Any], np.ndarray]`: The values in the order of their first appearance, None among them, and an
        array of shape `(rows,)` that says which of them each row has.

    Example:
        >>> rows = datasets.Dataset.from_dict({"label": ["b", None, "a", "b"]})
        >>> distinct_values(rows, "label")
        (['b', None, 'a'], array([0, 1, 2, 0]))
    """
    values = split.select_columns([column]).with_format("arrow")[:].column(column)
    distinct = values.unique()
    places = pc.index_in(values, value_set=distinct)
    return distinct.to_pylist(), places.to_numpy().astype(np.int64)


def read_label_ids(
    task_name: str, task: Task, head: str, config: SequenceClassificationHeadConfig, split_name: str
) -> np.ndarray:
    """
    Read the labels that a split has for a head, by name wherever the column has names.

    Args:
        task_name (`str`): The task.
        task ([`Task`]): Holds its splits.
        head (`str`): The head.
        config ([`SequenceClassificationHeadConfig`]): Its config, complete; one label a row.
        split_name (`str`): The split.

    Returns:
        `np.ndarray` of shape `(rows,)`: Ids of the classes, -100 where a row has no label.

    Raises:
        InputError: If a label is none of the head's, naming task, split, column, row and value.
    """
    split, column = task.dataset[split_name], str(task.labels[head])
    values, places = distinct_values(split, column)
    # the row where each value appears first
    rows = np.unique(places, return_index=True)[1].tolist()
    source = LabelSource(task_name, column, split.features[column], lambda: values)
    try:
        ids = label_ids(values, source.feature, source, rows, config)
    except InputError as error:
        raise InputError(f"split {split_name!r}, {error}") from error
    found: np.ndarray = ids[places]
    return found


def name_labels(split: datasets.Dataset, column: str, ids: np.ndarray, names: list[str]) -> datasets.Dataset:
    """
    Give the labels of a column of numbers their names, so that they stay what they are when a head's ids change.

    Args:
        split (`datasets.Dataset`): The rows.
        column (`str`): The column.
        ids (`np.ndarray` of shape `(rows,)`): What [`read_label_ids`] gives of it.
        names (`list[str]`): Names of the classes.

    Returns:
        `datasets.Dataset`: The rows with a `ClassLabel` in place of numbers, or as they were if the column has names.

    Example:
        >>> rows = datasets.Dataset.from_dict({"label": [1, -100], "text": ["yes", "?"]})
        >>> named = name_labels(rows, "label", np.array([1, -100]), ["no", "yes"])
        >>> named.features["label"].names, named["label"][:]
        (['no', 'yes'], [1, -1])
    """
    feature = split.features[column]
    if isinstance(feature, datasets.ClassLabel) or feature.dtype in ("string", "large_string"):
        return split
    order = split.column_names
    labels = np.where(ids == IGNORED, -1, ids)
    named = split.remove_columns(column).add_column(column, labels, feature=datasets.ClassLabel(names=names))
    return named.select_columns(order)


def rows_by_group(groups: np.ndarray, count: int) -> list[np.ndarray]:
    """
    Collect the rows of each group.

    Args:
        groups (`np.ndarray` of shape `(rows,)`): The group of each row, negative for none.
        count (`int`): How many groups there are.

    Returns:
        `list[np.ndarray]`: For each group the numbers of its rows, ascending.

    Example:
        >>> rows_by_group(np.array([1, 0, -1, 1]), 3)
        [array([1]), array([0, 3]), array([], dtype=int64)]
    """
    order = np.argsort(groups, kind="stable")
    ends = np.searchsorted(groups[order], np.arange(count + 1))
    return np.split(order, ends)[1:-1]


def warn_of_lost_rows(where: str, groups: Mapping[str, np.ndarray], what: str) -> None:
    """
    Count rows that belong to no group, if there are any, in a warning.

    Args:
        where (`str`): Task and column, as the message shall say them.
        groups (`Mapping[str, np.ndarray]`): For each split the group of each row, negative for none.
        what (`str`): What such a row lacks.
    """
    counts = {split: int((found < 0).sum()) for split, found in groups.items()}
    total = sum(counts.values())
    if total:
        parts = ", ".join(f"{count} in {split}" for split, count in counts.items() if count)
        rows = f"{total} rows without a {what} are" if total > 1 else f"1 row without a {what} is"
        # the caller of the function that makes the scenario
        warnings.warn(f"{where}: {rows} left out ({parts}).", stacklevel=4)
