"""A batch of several tasks in parts, one a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .dataset import TASK_INDEX

__all__ = ["PARTS", "CollatorByTask", "parts_of"]

PARTS = "parts"
"""Where a batch that is in parts has them: index of a task -> batch."""

NO_TASK = -1
"""The index of rows that only fill up a batch."""


@dataclass
class CollatorByTask:
    """
    Collates the rows of each task by themselves, so that each has a forward and a backward pass of its own.

    Args:
        collator (`Callable`): Puts rows together, such as a [`DataCollatorForMultiTask`].

    Example:
        >>> collate = CollatorByTask(lambda rows: {"input_ids": [row["input_ids"] for row in rows]})
        >>> rows = [{"input_ids": 7, "task_index": 1}, {"input_ids": 8, "task_index": 0}]
        >>> collate([*rows, {"input_ids": 9, "task_index": 1}])
        {'parts': {0: {'input_ids': [8]}, 1: {'input_ids': [7, 9]}}}
    """

    collator: Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]]

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """
        Put rows together.

        Args:
            features (`Sequence[Mapping[str, Any]]`): Rows, each with the index of its task.

        Returns:
            `dict[str, Any]`: A batch in parts, in the order of the tasks; rows without a task are left out where
            others are there.
        """
        groups: dict[int, list[Mapping[str, Any]]] = {}
        for row in features:
            groups.setdefault(int(row[TASK_INDEX]), []).append(row)
        if len(groups) > 1:
            groups.pop(NO_TASK, None)
        return {PARTS: {task: self.collator(groups[task]) for task in sorted(groups)}}


def parts_of(batch: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """
    List the batches that a batch consists of.

    Args:
        batch (`Mapping[str, Any]`): A batch, perhaps in parts.

    Returns:
        `list[Mapping[str, Any]]`: Its parts, or itself.
    """
    return list(batch[PARTS].values()) if PARTS in batch else [batch]
