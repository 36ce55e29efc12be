"""Batches of rows of like length: plain functions on lengths."""

from __future__ import annotations

import numpy as np

__all__ = ["LENGTH_GROUP_WINDOW", "group_by_length", "group_within_tasks"]

LENGTH_GROUP_WINDOW = 50
"""Batches among whose rows those of like length are looked for: 50, as in transformers' `LengthGroupedSampler`."""


def group_by_length(lengths: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """
    Order rows so that the batches cut from them have rows of like length, the batches themselves in random order.

    The rows are sorted, those of one length in random order, and cut up; if they do not fill all batches, the last
    one in the order is the one that is short, and each is as likely as the others to be it.

    Args:
        lengths (`np.ndarray` of shape `(rows,)`): Length of each row.
        batch_size (`int`): Rows of a batch.
        rng (`np.random.Generator`): Source of randomness.

    Returns:
        `np.ndarray` of shape `(rows,)`: Places of the rows in `lengths`.

    Example:
        >>> lengths = np.array([9, 2, 7, 2, 8])
        >>> lengths[group_by_length(lengths, 2, np.random.default_rng(0))].tolist()
        [8, 9, 2, 2, 7]
    """
    shuffled = rng.permutation(len(lengths))
    by_length = shuffled[np.argsort(lengths[shuffled], kind="stable")]
    number = -(-len(lengths) // batch_size)
    order = rng.permutation(number)
    missing = number * batch_size - len(lengths)
    starts = order * batch_size - missing * (order > order[-1:])
    sizes = np.full(number, batch_size)
    sizes[-1:] -= missing
    # (rows,): place of each row among the sorted ones
    places = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(len(lengths))
    return np.asarray(by_length[places])


def group_within_tasks(
    lengths: np.ndarray, tasks: np.ndarray, batch_size: int, rng: np.random.Generator
) -> np.ndarray:
    """
    Order rows so that batches have rows of like length, and at every place a row of the task that is there now.

    Each task's rows are sorted, those of one length in random order, and dealt out to the places that its rows have,
    the shortest to the batch that is first in an order of the batches that chance gives.

    Args:
        lengths (`np.ndarray` of shape `(rows,)`): Length of each row.
        tasks (`np.ndarray` of shape `(rows,)`): Task of each row.
        batch_size (`int`): Rows of a batch.
        rng (`np.random.Generator`): Source of randomness.

    Returns:
        `np.ndarray` of shape `(rows,)`: Places of the rows in `lengths`.

    Example:
        >>> lengths, tasks = np.array([9, 2, 7, 1, 8, 3]), np.array([0, 1, 0, 1, 0, 1])
        >>> order = group_within_tasks(lengths, tasks, 2, np.random.default_rng(0))
        >>> lengths[order].tolist(), tasks[order].tolist()
        ([9, 3, 7, 1, 8, 2], [0, 1, 0, 1, 0, 1])
    """
    rows = np.arange(len(lengths))
    # (rows,): place of each row's batch among the batches from short to long
    rank = rng.permutation(-(-len(lengths) // batch_size))[rows // batch_size]
    order = np.empty(len(lengths), dtype=np.int64)
    order[np.lexsort((rng.permutation(len(lengths)), rank, tasks))] = np.lexsort(
        (rng.permutation(len(lengths)), lengths, tasks)
    )
    return order
