"""Where each row of a training batch comes from, known without a look at the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np

from ..data import TASK_INDEX, DataCollatorForMultiTask

__all__ = ["ROW_NUMBER", "SOURCES", "SourceCollator", "number_rows"]

ROW_NUMBER = "row_number"
"""The reserved column with a training row's number in its task's training split; -1 for rows out of a buffer."""

SOURCES = "sources"
"""The reserved key under which a batch says for each row the index of its task and its number."""


def number_rows(split: datasets.Dataset) -> datasets.Dataset:
    """
    Give the rows of a prepared training split their numbers.

    Args:
        split (`datasets.Dataset`): The split.

    Returns:
        `datasets.Dataset`: With a column more.

    Example:
        >>> number_rows(datasets.Dataset.from_dict({"length": [3, 2]}))["row_number"][:]
        [0, 1]
    """
    return split.add_column(ROW_NUMBER, np.arange(len(split)))


class SourceCollator(DataCollatorForMultiTask):
    """
    Puts rows together and keeps their sources under [`SOURCES`]: a `np.ndarray` of shape `(batch_size, 2)`, index of
    the task and number of the row, -1 and -1 for rows that only fill a batch. It stays where it is when the batch goes
    to a device, so that nobody has to wait for the device to read it.
    """

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """As [`DataCollatorForMultiTask`], with the sources of rows that have some."""
        batch = super().__call__(features)
        if features and TASK_INDEX in features[0]:
            found = [(row[TASK_INDEX], row.get(ROW_NUMBER, -1) if row[TASK_INDEX] >= 0 else -1) for row in features]
            batch[SOURCES] = np.array(found, dtype=np.int64)
        return batch
