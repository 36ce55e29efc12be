"""The rows of all tasks under one numbering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import torch

__all__ = ["GOLD_PREFIX", "LABEL_PREFIX", "MORE_PREFIX", "PASS_INDEX", "TASK_INDEX", "MultiTaskDataset"]

LABEL_PREFIX = "labels_"
"""What stands before a head's name in the column that holds its encoded labels."""

GOLD_PREFIX = "gold_"
"""What stands before a head's name in the column that holds what its metrics need beside labels."""

MORE_PREFIX = "more_"
"""What stands before the name of a model input in the column that holds it for all sequences of the row."""

PASS_INDEX = "pass_index"
"""The reserved key under which a row of a stream says in which pass it is read: the Trainer counts no epochs there."""

TASK_INDEX = "task_index"
"""The reserved key under which a row, and a batch, says which task each row is from."""

_LENGTHS_AT_ONCE = 2**18
"""Rows whose lengths are read in one go."""


class MultiTaskDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """
    The rows of several tasks, one task's behind the other's; each task keeps its own columns.

    The number `~n` stands for row n without its labels and its task (index -1): it fills a batch and trains nothing.

    Args:
        splits (`Mapping[str, datasets.Dataset]`): For each task a prepared split.

    Example:
        >>> from datasets import Dataset
        >>> rows = MultiTaskDataset({"a": Dataset.from_dict({"x": [1, 2]}), "b": Dataset.from_dict({"y": [3]})})
        >>> len(rows), rows[2]
        (3, {'y': 3, 'task_index': 1})
    """

    def __init__(self, splits: Mapping[str, datasets.Dataset]) -> None:
        self.task_names = list(splits)
        self._splits = list(splits.values())
        self.sizes = [len(split) for split in self._splits]
        self._starts = np.cumsum([0, *self.sizes])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def lengths(self) -> np.ndarray:
        """
        Length of every row, as [`prepare_split`] counts it: tokens, samples of recordings that are arrays, else 1.

        Returns:
            `np.ndarray` of shape `(rows,)`, int32.

        Example:
            >>> from datasets import Dataset
            >>> MultiTaskDataset({"a": Dataset.from_dict({"length": [5, 3]})}).lengths()
            array([5, 3], dtype=int32)
        """
        lengths = np.empty(len(self), dtype=np.int32)
        for split, first in zip(self._splits, self._starts, strict=False):
            column = split.select_columns("length").with_format("arrow")
            for start in range(0, len(split), _LENGTHS_AT_ONCE):
                part = column[start : start + _LENGTHS_AT_ONCE]["length"].to_numpy()
                lengths[first + start : first + start + len(part)] = part
        return lengths

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Rows by their numbers, read from each task's table in one go."""
        given = np.asarray(indices, dtype=np.int64)
        wanted = np.where(given < 0, ~given, given)
        tasks = np.searchsorted(self._starts, wanted, side="right") - 1
        rows: list[dict[str, Any]] = [{}] * len(wanted)
        for task in np.unique(tasks):
            places = np.flatnonzero(tasks == task)
            columns = self._splits[task][(wanted[places] - self._starts[task]).tolist()]
            for number, place in enumerate(places):
                filler = given[place] < 0
                row = {
                    name: values[number]
                    for name, values in columns.items()
                    if not (filler and name.startswith(LABEL_PREFIX))
                }
                rows[place] = {**row, TASK_INDEX: -1 if filler else int(task)}
        return rows
