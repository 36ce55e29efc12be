"""In which order the rows of several streams come: how many a stream has is known when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Generic, TypeVar

import numpy as np

__all__ = ["RowSource", "interleave"]

Row = TypeVar("Row")

_DRAWS_AT_ONCE = 1000


class RowSource(Generic[Row]):
    """
    Rows of one task that can be begun again; reads one row ahead, to know with the last one that it was the last.

    Args:
        begin (`Callable[[int], Iterator]`): Gives all rows, in another order for each number of times they were begun.

    Example:
        >>> source = RowSource(lambda begun: iter([begun, begun + 10]))
        >>> source.take(), source.used_up, source.take(), source.used_up, source.take()
        (0, False, 10, True, 1)
    """

    def __init__(self, begin: Callable[[int], Iterator[Row]]) -> None:
        self._begin = begin
        self._begun = 0
        self._rows = begin(0)
        self._next = next(self._rows, None)
        self.empty = self._next is None
        """Whether there is no row at all."""
        self.used_up = self.empty
        """Whether every row was taken once."""

    def take(self) -> Row:
        """
        Take the next row; behind the last one they begin again.

        Returns:
            `Any`: The row.

        Raises:
            StopIteration: If there is no row at all.
        """
        if self._next is None:
            self._begun += 1
            self._rows = self._begin(self._begun)
            self._next = next(self._rows)
        row = self._next
        self._next = next(self._rows, None)
        self.used_up = self.used_up or self._next is None
        return row


def interleave(
    sources: Sequence[RowSource[Row]],
    order: str,
    stop: str,
    shares: Sequence[float],
    rng: np.random.Generator,
    first: int = 0,
) -> Iterator[Row]:
    """
    Take rows from several sources until the pass over them ends.

    Args:
        sources (`Sequence[RowSource]`): The rows of each task.
        order (`str`): `random`, `round_robin` or `sequential`, see [`Mixture`]; the last has each row once.
        stop (`str`): `all` (a task that has no more rows drops out), `first` or `longest`, see [`Mixture`].
        shares (`Sequence[float]`): Probability of each task to be next in `random` order, above 0.
        rng (`np.random.Generator`): Source of randomness.
        first (`int`, *optional*, defaults to 0): Index of the task that `round_robin` begins with.

    Returns:
        `Iterator`: The rows.

    Example:
        >>> letters, numbers = (lambda _: iter("abc")), (lambda _: iter("12345"))
        >>> for stop in ("all", "first", "longest"):
        ...     sources = [RowSource(letters), RowSource(numbers)]
        ...     print("".join(interleave(sources, "round_robin", stop, [0.5, 0.5], np.random.default_rng(0))))
        a1b2c345
        a1b2c
        a1b2c3a4b5
    """
    if order == "sequential":
        for source in sources:
            while not source.used_up:
                yield source.take()
        return
    turns = _random_turns(sources, shares, stop, rng) if order == "random" else _turns(len(sources), first)
    ended = any if stop == "first" else all
    while not ended(source.used_up for source in sources):
        source = sources[next(turns)]
        if stop != "all" or not source.used_up:
            yield source.take()


def _turns(number: int, first: int) -> Iterator[int]:
    return cycle([(first + index) % number for index in range(number)])


def _random_turns(
    sources: Sequence[RowSource[Row]], shares: Sequence[float], stop: str, rng: np.random.Generator
) -> Iterator[int]:
    while True:
        # a rare task that is left alone must not be waited for
        dropped = [stop == "all" and source.used_up for source in sources]
        weights = np.where(dropped, 0.0, shares)
        yield from rng.choice(len(sources), size=_DRAWS_AT_ONCE, p=weights / weights.sum()).tolist()
