"""The rows of one task as an endless row of shuffled passes."""

from __future__ import annotations

import numpy as np

__all__ = ["ShuffledPasses"]


class ShuffledPasses:
    """
    Rows of a task, pass after pass: each pass has every row once, in an order that (seed, task, pass) settles.

    Only the pass that is being read is held, in 4 bytes a row (8 beyond 2**31 rows), and made when its first row is
    asked for.

    Args:
        size (`int`): Rows of the task.
        seed (`int`): Seed of all orders.
        task (`int`): Index of the task.
        first (`int`, *optional*, defaults to 0): Rows that were taken before.

    Example:
        >>> passes = ShuffledPasses(3, seed=0, task=0)
        >>> [passes.take(count).tolist() for count in (2, 2, 3)]
        [[0, 2], [1, 1], [2, 0, 1]]
        >>> ShuffledPasses(3, seed=0, task=0, first=4).take(3).tolist()
        [2, 0, 1]
    """

    def __init__(self, size: int, seed: int, task: int, first: int = 0) -> None:
        self._size = size
        self._seed = seed
        self._task = task
        self._taken = first
        self._number = -1
        self._order = np.empty(0, dtype=np.int32)

    def take(self, count: int) -> np.ndarray:
        """
        Read on.

        Args:
            count (`int`): How many rows.

        Returns:
            `np.ndarray` of shape `(count,)`: Numbers of the next rows, from 0 up.
        """
        parts = [self._order[:0]]
        while count > 0:
            number, offset = divmod(self._taken, self._size)
            if number != self._number:
                self._begin(number)
            parts.append(self._order[offset : offset + count])
            count -= len(parts[-1])
            self._taken += len(parts[-1])
        return np.concatenate(parts)

    def _begin(self, number: int) -> None:
        self._number = number
        # the draws of a shuffle are the same for any type of number: numpy's permutation makes this order, too
        self._order = np.arange(self._size, dtype=np.int32 if self._size <= np.iinfo(np.int32).max else np.int64)
        np.random.default_rng([self._seed, self._task, number, 1]).shuffle(self._order)
