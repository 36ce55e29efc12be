"""Requests of several threads that share one pass through the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar, cast

__all__ = ["SharedPasses"]

RowT = TypeVar("RowT")
ResultT = TypeVar("ResultT")


@dataclass(eq=False)
class _Request(Generic[RowT, ResultT]):
    row: RowT
    options: Hashable
    result: ResultT | None = None


class SharedPasses(Generic[RowT, ResultT]):
    """
    Runs one pass at a time, for all rows that wait when it begins.

    A fast tokenizer keeps truncation and padding as its own state, which no two threads may change at once, and a pass
    over a few rows takes hardly longer than over one. So whoever comes first takes all that wait along.

    Args:
        run (`Callable[[Sequence, Hashable], Sequence]`):
            Makes a pass: rows and their options, to one result a row, never None. What it raises reaches the
            thread that made the pass, and the other rows are run again.
        max_rows (`int`, *optional*, defaults to 32): Rows of one pass.

    Example:
        >>> passes = SharedPasses(lambda rows, options: [f"{row} {options}" for row in rows])
        >>> passes("a row", "all heads")
        'a row all heads'
    """

    def __init__(self, run: Callable[[Sequence[RowT], Hashable], Sequence[ResultT]], max_rows: int = 32) -> None:
        self._run = run
        self._max_rows = max_rows
        self._lock = Lock()
        self._waiting: deque[_Request[RowT, ResultT]] = deque()

    def __call__(self, row: RowT, options: Hashable) -> ResultT:
        """
        Run a row, with others that wait and have the same options.

        Args:
            row (`RowT`): The row.
            options (`Hashable`): How to run it.

        Returns:
            `ResultT`: Its result.
        """
        request: _Request[RowT, ResultT] = _Request(row, options)
        self._waiting.append(request)
        with self._lock:
            if request.result is None:
                self._run_together(self._take(request))
        return cast(ResultT, request.result)

    @property
    def waiting(self) -> int:
        """How many rows wait for the next pass."""
        return len(self._waiting)

    def _take(self, first: _Request[RowT, ResultT]) -> list[_Request[RowT, ResultT]]:
        """This request and those that can go with it; the others keep their order."""
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        others = [each for each in waiting if each is not first and each.options == first.options]
        taken = [first, *others[: self._max_rows - 1]]
        self._waiting.extendleft(each for each in reversed(waiting) if each not in taken)
        return taken

    def _run_together(self, requests: Sequence[_Request[RowT, ResultT]]) -> None:
        results = self._run([each.row for each in requests], requests[0].options)
        for request, result in zip(requests, results, strict=True):
            request.result = result
