"""Which rows go through the model together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..data import text_inputs

__all__ = ["batches_by_length"]


def batches_by_length(rows: Sequence[Mapping[str, Any]], batch_size: int) -> Iterator[list[int]]:
    """
    Cut rows into batches of one kind of input and of like length, so that there is little padding.

    Args:
        rows (`Sequence[Mapping[str, Any]]`): The rows, as [`check_row`] gives them.
        batch_size (`int`): Rows of a batch, at most.

    Yields:
        `list[int]`: Numbers of the rows of a batch; the batches of longest rows come first among those of their kind,
        so that what does not fit into memory shows at once.

    Example:
        >>> list(batches_by_length([{"text": "a"}, {"tokens": ["b"]}, {"text": "ccc"}, {"text": "dd"}], 2))
        [[2, 3], [0], [1]]
    """
    kinds: dict[tuple[str, ...], list[int]] = {}
    for number, row in enumerate(rows):
        kinds.setdefault(tuple(sorted(name for name in row if name != "task")), []).append(number)
    for _, numbers in sorted(kinds.items()):
        # rows of one length keep their order
        numbers.sort(key=lambda number: -_length(rows[number]))
        for start in range(0, len(numbers), batch_size):
            yield numbers[start : start + batch_size]


def _length(row: Mapping[str, Any]) -> int:
    """Characters of a row's texts."""
    texts = [row[name] for name in text_inputs(row) if name != "task"]
    return sum(len(text) if isinstance(text, str) else sum(map(len, text)) for text in texts)
