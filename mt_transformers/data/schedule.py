"""In which order the tasks come: plain functions on counts, of rows or of batches."""

from __future__ import annotations

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
        `np.ndarray` of shape `(counts.sum(),)`: Indices of tasks.

    Example:
        >>> round_robin(np.array([5, 3]), np.random.default_rng(0)).tolist()
        [0, 1, 0, 1, 0, 1, 0, 0]
    """
    tasks = np.repeat(np.arange(len(counts)), counts)
    turn = np.arange(len(tasks)) - np.repeat(np.cumsum(counts) - counts, counts)
    return tasks[np.lexsort((tasks, turn))]


def random_order(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """
    Every order is as likely as every other.

    Args:
        counts (`np.ndarray` of shape `(tasks,)`): Rows, or batches, of each task.
        rng (`np.random.Generator`): Source of randomness.

    Returns:
        `np.ndarray` of shape `(counts.sum(),)`: Indices of tasks.
    """
    return rng.permutation(np.repeat(np.arange(len(counts)), counts))


def sequential(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001 as all orders
    """
    Task after task, in the order in which they were given.

    Args:
        counts (`np.ndarray` of shape `(tasks,)`): Rows, or batches, of each task.
        rng (`np.random.Generator`): Not used.

    Returns:
        `np.ndarray` of shape `(counts.sum(),)`: Indices of tasks.
    """
    return np.repeat(np.arange(len(counts)), counts)


ORDERS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "random": random_order,
    "round_robin": round_robin,
    "sequential": sequential,
}
