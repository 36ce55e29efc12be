"""In which order the tasks come: plain functions on counts, of rows or of batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

__all__ = ["ORDERS", "random_order", "round_robin", "sequential"]


def round_robin(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001 as all orders
    """
    One of each task in turn; a task that has no more drops out.

    Source: AllenNLP's `RoundRobinScheduler` and `HomogeneousRoundRobinScheduler`.

    Args:
        counts (`np.ndarray` of shape `(tasks,)`): Rows, or batches, of each task.
        rng (`np.random.Generator`): Not used.

    Returns:
        `np.ndarray` of shape `(counts.sum(),)`: Indices of tasks, in the smallest unsigned type.

    Example:
        >>> round_robin(np.array([5, 3]), np.random.default_rng(0)).tolist()
        [0, 1, 0, 1, 0, 1, 0, 0]
    """
    tasks, ends = _tasks(counts), np.unique(np.append(counts, 0))
    # from one task's end to the next one's, all turns are alike
    rounds = [np.tile(tasks[counts > start], end - start) for start, end in itertools.pairwise(ends)]
    return np.concatenate([tasks[:0], *rounds])


def random_order(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """
    Every order is as likely as every other.

    Args:
        counts (`np.ndarray` of shape `(tasks,)`): Rows, or batches, of each task.
        rng (`np.random.Generator`): Source of randomness.

    Returns:
        `np.ndarray` of shape `(counts.sum(),)`: Indices of tasks, in the smallest unsigned type.
    """
    order = np.repeat(_tasks(counts), counts)
    rng.shuffle(order)
    return order


def sequential(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001 as all orders
    """
    Task after task, in the order in which they were given.

    Args:
        counts (`np.ndarray` of shape `(tasks,)`): Rows, or batches, of each task.
        rng (`np.random.Generator`): Not used.

    Returns:
        `np.ndarray` of shape `(counts.sum(),)`: Indices of tasks, in the smallest unsigned type.
    """
    return np.repeat(_tasks(counts), counts)


def _tasks(counts: np.ndarray) -> np.ndarray:
    """Indices of the tasks in the smallest type: an order over millions of rows is held for an epoch."""
    return np.arange(len(counts), dtype=np.min_scalar_type(max(len(counts) - 1, 0)))


ORDERS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "random": random_order,
    "round_robin": round_robin,
    "sequential": sequential,
}
