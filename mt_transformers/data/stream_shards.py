"""Which rows of a stream a process and a worker read, and in which order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple

import datasets
import numpy as np
from datasets.iterable_dataset import (
    CyclingMultiSourcesExamplesIterable,
    SkipExamplesIterable,
    TakeExamplesIterable,
)

from ..errors import InputError

__all__ = ["FILES_AT_ONCE", "SHUFFLE_BUFFER", "StreamRow", "StreamShard", "TaskStream"]

SHUFFLE_BUFFER = 1000
"""Rows of a stream among which the next one is drawn."""

FILES_AT_ONCE = 10
"""Files of a stream that are read in turn, so that the rows of one are not all among themselves."""

_READ_AT_ONCE = 32
_PREPARED_AT_ONCE = 256

# these choose rows by their place in the whole stream: of its parts they would choose others
_BY_PLACE = (CyclingMultiSourcesExamplesIterable, SkipExamplesIterable, TakeExamplesIterable)


@dataclass(frozen=True)
class StreamShard:
    """
    The part of all streams that one worker of one process reads.

    Every row belongs to one shard, the same one in each pass, whatever the seed. Where a stream's files can be dealt
    out evenly, a shard reads only its own. Else as many shards as need be share a group of files: each reads all of
    them and keeps of the group's file f the rows r with (r + f) % shards = its number, before they are prepared.

    Args:
        index (`int`, *optional*, defaults to 0): Number of the shard.
        count (`int`, *optional*, defaults to 1): Number of all shards: processes x workers.

    Example:
        >>> [StreamShard(index, 4).files(8) for index in range(4)]
        [[0, 4], [1, 5], [2, 6], [3, 7]]
        >>> [StreamShard(index, 4).files(6) for index in range(4)]
        [[0, 2, 4], [1, 3, 5], [0, 2, 4], [1, 3, 5]]
        >>> [[row for row in range(6) if StreamShard(index, 4).owns(0, row, 6)] for index in range(4)]
        [[0, 2, 4], [], [1, 3, 5], []]
    """

    index: int = 0
    count: int = 1

    def files(self, num_files: int) -> list[int]:
        """
        The files that this shard reads.

        Args:
            num_files (`int`): Files of the stream.

        Returns:
            `list[int]`: Their numbers.
        """
        groups = math.gcd(num_files, self.count)
        return list(range(self.index % groups, num_files, groups))

    def owns(self, file: int, row: int, num_files: int) -> bool:
        """
        Whether a row is this shard's.

        Args:
            file (`int`): Number of the row's file.
            row (`int`): Number of the row in the file.
            num_files (`int`): Files of the stream.

        Returns:
            `bool`: True for exactly one shard.
        """
        groups = math.gcd(num_files, self.count)
        sharers = self.count // groups
        # short files begin with another shard each, lest the first shard have all their rows
        return file % groups == self.index % groups and (row + file // groups) % sharers == self.index // groups


class StreamRow(NamedTuple):
    """A row as a stream has it, and its number in its file."""

    number: int
    values: dict[str, Any]


class TaskStream:
    """
    The training rows of a streamed task: read in shards, prepared when they are needed.

    Iterating gives all rows once, prepared, in the stream's order.

    Args:
        split (`datasets.IterableDataset`): The rows as they are; in the same order on every process, so that a stream
            that was shuffled must have been so with a seed.
        prepare (`Callable[[dict[str, list], list[int]], dict[str, list]]`):
            Makes prepared columns of columns and the numbers of their rows.
        where (`str`, *optional*, defaults to `"stream"`): The task and split, for messages.

    Raises:
        InputError: If the stream was already split by node.

    Example:
        >>> rows = datasets.Dataset.from_dict({"x": [1, 2, 3]}).to_iterable_dataset()
        >>> stream = TaskStream(rows, lambda columns, numbers: {"y": [-x for x in columns["x"]], "number": numbers})
        >>> list(stream)
        [{'y': -1, 'number': 0}, {'y': -2, 'number': 1}, {'y': -3, 'number': 2}]
        >>> [row.values for row in stream.read(StreamShard(1, 2), np.random.default_rng(0))]
        [{'x': 2}]
    """

    def __init__(
        self,
        split: datasets.IterableDataset,
        prepare: Callable[[dict[str, list[Any]], list[int]], dict[str, list[Any]]],
        where: str = "stream",
    ) -> None:
        if split._distributed is not None:
            raise InputError(f"{where}: expected the whole stream, which is split here, found one split by node.")
        self._split = split.with_format(None)
        self._prepare = prepare
        self.num_files = 1 if _chooses_by_place(split) else split.num_shards
        """Files that can be read apart; 1 for a stream made by `take`, `skip` or `interleave_datasets`."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rows = self._read_file(0, 1)
        while chunk := list(islice(rows, _PREPARED_AT_ONCE)):
            yield from self.prepare(chunk)

    def prepare(self, rows: Sequence[StreamRow]) -> list[dict[str, Any]]:
        """
        Tokenize and encode rows.

        Args:
            rows (`Sequence[StreamRow]`): At least one row as [`read`] gives them.

        Returns:
            `list[dict[str, Any]]`: The prepared rows.

        Raises:
            InputError: If a value is missing or wrong, naming task, column, row and value.
        """
        columns = {name: [row.values[name] for row in rows] for name in rows[0].values}
        prepared = self._prepare(columns, [row.number for row in rows])
        return [dict(zip(prepared, values, strict=True)) for values in zip(*prepared.values(), strict=True)]

    def read(self, shard: StreamShard, rng: np.random.Generator) -> Iterator[StreamRow]:
        """
        Read the rows of a shard once, shuffled: files in any order, `FILES_AT_ONCE` in turn, through a buffer.

        Args:
            shard ([`StreamShard`]): Which rows.
            rng (`np.random.Generator`): Source of randomness.

        Returns:
            `Iterator[StreamRow]`: The rows, not yet prepared.
        """
        files = rng.permutation(shard.files(self.num_files)).tolist()
        lanes = [
            chain.from_iterable(self._read_own(file, shard) for file in files[lane::FILES_AT_ONCE])
            for lane in range(min(FILES_AT_ONCE, len(files)))
        ]
        return _shuffle(_read_in_turn(lanes), rng)

    def count_rows(self, shard: StreamShard, all_shards: bool = False) -> int:
        """
        Count the rows of a shard; reads them.

        Args:
            shard ([`StreamShard`]): Which shard.
            all_shards (`bool`, *optional*, defaults to `False`):
                Whether to count what other shards own in the same files, too.

        Returns:
            `int`: The rows.
        """
        files = shard.files(self.num_files)
        rows = ((file, row.number) for file in files for row in self._read_file(file, self.num_files))
        return sum(all_shards or shard.owns(file, number, self.num_files) for file, number in rows)

    def _read_own(self, file: int, shard: StreamShard) -> Iterator[StreamRow]:
        rows = self._read_file(file, self.num_files)
        return (row for row in rows if shard.owns(file, row.number, self.num_files))

    def _read_file(self, file: int, num_files: int) -> Iterator[StreamRow]:
        part = self._split if num_files == 1 else self._split.shard(num_shards=num_files, index=file)
        number = 0
        # not iter(part): within a worker that would leave most rows to other workers
        for batch in part.iter(batch_size=_READ_AT_ONCE):
            for values in _rows_of(batch):
                yield StreamRow(number, values)
                number += 1


def _rows_of(batch: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in zip(*batch.values(), strict=True):
        yield dict(zip(batch, values, strict=True))


def _read_in_turn(lanes: Sequence[Iterator[StreamRow]]) -> Iterator[StreamRow]:
    """A row of each lane in turn; a lane that has no more drops out."""
    while lanes:
        rows = [next(lane, None) for lane in lanes]
        yield from (row for row in rows if row is not None)
        lanes = [lane for lane, row in zip(lanes, rows, strict=True) if row is not None]


def _shuffle(rows: Iterator[StreamRow], rng: np.random.Generator) -> Iterator[StreamRow]:
    """Draw each next row from a buffer, and fill its place."""
    buffer = list(islice(rows, SHUFFLE_BUFFER))
    for row in rows:
        place = int(rng.integers(len(buffer)))
        yield buffer[place]
        buffer[place] = row
    for place in rng.permutation(len(buffer)):
        yield buffer[place]


def _chooses_by_place(split: datasets.IterableDataset) -> bool:
    """Whether some step of the stream chooses rows by their place in the whole of it."""
    steps = [split._ex_iterable]
    while steps:
        step = steps.pop()
        if isinstance(step, _BY_PLACE):
            return True
        steps += vars(step).get("ex_iterables") or [each for each in [vars(step).get("ex_iterable")] if each]
    return False
