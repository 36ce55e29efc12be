"""Tasks that are streamed: rows whose number is not known, prepared as they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice
from typing import Any, NamedTuple

import datasets
import fsspec.asyn  # type: ignore[import-untyped]
import numpy as np
import torch
from torch.utils.data import get_worker_info

from ..errors import InputError
from ..heads import HeadConfig, LabelSource
from .dataset import GOLD_PREFIX, PASS_INDEX, TASK_INDEX
from .interleaving import RowSource, interleave
from .media_columns import MediaChecker, keep_files
from .mixture import Mixture
from .preprocessing import RowEncoder, make_encoder, name_media
from .stream_shards import StreamRow, StreamShard, TaskStream
from .task import Task

__all__ = ["MultiTaskStream", "prepare_stream"]

_PREPARED_AT_ONCE = 256


def prepare_stream(
    task_name: str,
    task: Task,
    split: datasets.IterableDataset,
    heads: Mapping[str, HeadConfig],
    processing_class: Any,
    max_length: int | None = None,
) -> TaskStream:
    """
    Tokenize the inputs of a stream and encode its labels, as its rows are read.

    Args:
        task_name (`str`): The task.
        task ([`Task`]): Its columns.
        split (`datasets.IterableDataset`): Its training rows.
        heads (`Mapping[str, HeadConfig]`): The heads, complete.
        processing_class (`Any`): A fast tokenizer, or what else the inputs need, see [`Processing`].
        max_length (`int`, *optional*): Length to which rows are cut (tokens).

    Returns:
        [`TaskStream`]: Its rows have the columns of [`prepare_split`], but for gold ones.

    Raises:
        InputError: If heads and tokenizer do not fit; while it is read, if a value is missing or wrong.
    """
    encoder = make_encoder(task_name, task, "train", split.features, heads, processing_class, max_length)
    # without what reads whole columns, which no worker that is not forked could be sent
    encoder.labels = {head: (config, _bare(source)) for head, (config, source) in encoder.labels.items()}
    checker = encoder.media_checker
    # a stream that has a column renamed decodes it
    split = name_media(keep_files(split, checker.columns.values()), task, encoder.processing)
    gold = [GOLD_PREFIX + head for head in task.labels if heads[head].needs_gold]
    return TaskStream(split, _StreamEncoder(encoder, checker, ["cut_words", "unseen_words", *gold]), encoder.where)


def _bare(source: LabelSource) -> LabelSource:
    return LabelSource(source.task_name, source.column, source.feature, read=list)


@dataclass
class _StreamEncoder:
    """Prepares rows with media in place, and leaves out what only evaluations need."""

    encoder: RowEncoder
    checker: MediaChecker
    dropped: list[str]

    def __call__(self, columns: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
        prepared: dict[str, list[Any]] = {name: columns[name] for name in self.checker.columns}
        if prepared:
            prepared |= self.checker(columns, numbers)
        encoded = self.encoder(columns, numbers)
        # arrays become lists, as they do in a table
        prepared |= {name: [_as_list(each) for each in encoded[name]] for name in encoded if name not in self.dropped}
        return prepared


def _as_list(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


class _MixedRow(NamedTuple):
    """A row in its place in the mixture, not yet prepared."""

    task: int
    pass_index: int
    row: StreamRow


class MultiTaskStream(torch.utils.data.IterableDataset[dict[str, Any]]):
    """
    Rows of several streams, interleaved; each pass is settled by (seed, epoch).

    A stream has no length: shares are `uniform` or `weighted` (probabilities of each next row, in `random` order),
    or rows come in `round_robin` or `sequential` order. `stop` ends a pass as it does for other tasks, `longest` by
    default; in `sequential` order each row comes once.

    Rows are dealt out to processes and workers before they are shuffled and interleaved, see [`StreamShard`]: in each
    pass every row comes in one shard. Each shard chooses tasks with its own random numbers, ends its own passes, and
    says in each row which pass it is. An endless stream is as long on every process, so that none waits for another.

    Args:
        streams (`Mapping[str, TaskStream]`): For each task its rows.
        mixture ([`Mixture`]): How they are interleaved.
        seed (`int`): Seed of the shuffling and of the choice of tasks.
        endless (`bool`, *optional*, defaults to `False`):
            Whether pass follows on pass, so that training by a number of steps, and a run that is resumed, need not
            know where one ends.
        process_index (`int`, *optional*, defaults to 0): Number of this process.
        num_processes (`int`, *optional*, defaults to 1): Processes that train.

    Raises:
        InputError: If the mixture needs numbers of rows, or batches of one task; when rows are read, if a worker has
            no row of a task that its passes cannot do without.
    """

    def __init__(
        self,
        streams: Mapping[str, TaskStream],
        mixture: Mixture,
        seed: int,
        endless: bool = False,
        process_index: int = 0,
        num_processes: int = 1,
    ) -> None:
        _check_mixture(mixture)
        self.task_names = list(streams)
        self._streams = list(streams.values())
        self._order = mixture.order
        self._stop = mixture.stop or "longest"
        shares = list(mixture.shares(dict.fromkeys(streams, 1)).values())
        self._shares = {task: share for task, share in enumerate(shares) if share > 0}
        self._seed = seed
        self._endless = endless
        self._process_index = process_index
        self._num_processes = num_processes
        self._epoch = 0
        self._skipped = (0, 1)

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass that the next iteration begins with."""
        self._epoch = epoch

    def skip_batches(self, batches: int, batch_size: int) -> None:
        """
        Leave the first batches of a loader empty, as a run that is resumed drops them.

        Their rows come as `{}`. They are not prepared, and read only in the first pass and in the one where they end:
        once a shard knows how many rows it has, the passes between are counted out.

        Args:
            batches (`int`): Batches of this process, over all of its workers; 0 to have all rows again.
            batch_size (`int`): Rows of a batch.
        """
        self._skipped = (batches, batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        shard, skipped = self._shard(), self._skipped_rows()
        number, rows = self._begin(shard, skipped)
        yield from ({} for _ in range(skipped))
        if self._endless:
            rows = chain(rows, chain.from_iterable(self._one_pass(each, shard) for each in count(number + 1)))
        while chunk := list(islice(rows, _PREPARED_AT_ONCE)):
            yield from self._prepare(chunk)

    def _skipped_rows(self) -> int:
        """Rows of the batches to skip that are for this worker to give: a loader takes a batch of each in turn."""
        batches, batch_size = self._skipped
        worker = get_worker_info()
        return len(range(worker.id if worker else 0, batches, worker.num_workers if worker else 1)) * batch_size

    def _begin(self, shard: StreamShard, skipped: int) -> tuple[int, Iterator[_MixedRow]]:
        """The pass in which the first row that is not skipped comes, or would come next, and the rest of it."""
        number, rows = self._epoch, self._one_pass(self._epoch, shard)
        skipped -= sum(1 for _ in islice(rows, skipped))
        if not skipped:
            return number, rows
        sizes = {task: self._streams[task].count_rows(shard) for task in self._shares}
        while True:
            number += 1
            # how a pass mixes the tasks depends on how many rows they have, not on which
            length = sum(1 for _ in self._interleave(number, shard, {t: _counted(n) for t, n in sizes.items()}))
            if length >= skipped:
                rows = self._one_pass(number, shard)
                return number, islice(rows, skipped, None)
            skipped -= length

    def _shard(self) -> StreamShard:
        """The shard of this process and, within a worker, of the worker."""
        worker = get_worker_info()
        if worker is None:
            return StreamShard(self._process_index, self._num_processes)
        # a lock that another thread held when this process was forked would never be freed
        fsspec.asyn.reset_lock()
        # neighbours in number are on different processes: in round robin their batches begin with different tasks
        index = worker.id * self._num_processes + self._process_index
        return StreamShard(index, worker.num_workers * self._num_processes)

    def _one_pass(self, number: int, shard: StreamShard) -> Iterator[_MixedRow]:
        def begin(task: int, begun: int) -> Iterator[_MixedRow]:
            rng = np.random.default_rng([self._seed, number, shard.index, 1 + task, begun])
            return (_MixedRow(task, number, row) for row in self._streams[task].read(shard, rng))

        sources = {task: RowSource(partial(begin, task)) for task in self._shares}
        empty = [task for task, source in sources.items() if source.empty]
        once = self._order == "sequential" or self._stop == "all"
        if empty and not (once and len(empty) < len(sources)):
            raise InputError(self._lacking_rows(empty, shard))
        return self._interleave(number, shard, sources)

    def _interleave(self, number: int, shard: StreamShard, sources: Mapping[int, RowSource[Any]]) -> Iterator[Any]:
        rng = np.random.default_rng([self._seed, number, shard.index, 0, 0])
        shares = list(self._shares.values())
        first = shard.index % len(sources)
        return interleave(list(sources.values()), self._order, self._stop, shares, rng, first)

    def _lacking_rows(self, tasks: list[int], shard: StreamShard) -> str:
        workers = shard.count // self._num_processes
        found = ", ".join(
            f"{self._streams[task].count_rows(shard, all_shards=True)} in the files of {self.task_names[task]}"
            for task in tasks
        )
        return (
            f"streams: expected a row for each of {self._num_processes} processes x {workers} workers in every pass, "
            f"found rows: {found}."
        )

    def _prepare(self, chunk: list[_MixedRow]) -> list[dict[str, Any]]:
        """Prepare rows of several tasks, those of each together."""
        prepared: list[dict[str, Any]] = [{}] * len(chunk)
        for task in self._shares:
            places = [place for place, mixed in enumerate(chunk) if mixed.task == task]
            if not places:
                continue
            rows = self._streams[task].prepare([chunk[place].row for place in places])
            for place, row in zip(places, rows, strict=True):
                prepared[place] = {**row, TASK_INDEX: task, PASS_INDEX: chunk[place].pass_index}
        return prepared


def _counted(rows: int) -> RowSource[int]:
    """Stands for a task with as many rows, where only their number matters."""
    return RowSource(lambda _: iter(range(rows)))


def _check_mixture(mixture: Mixture) -> None:
    """Refuse what only tasks with a known number of rows can have."""
    if mixture.sampling not in ("uniform", "weighted"):
        raise InputError(
            f"mixture: streams have no length, expected sampling 'uniform' or 'weighted', found {mixture.sampling!r}."
        )
    if mixture.order != "random" and mixture.sampling == "weighted":
        raise InputError(f"mixture: weights are for streams in random order, found order {mixture.order!r}.")
    if mixture.batches != "mixed":
        raise InputError(f"mixture: streams come in mixed batches, found {mixture.batches!r}.")
    if mixture.instances_per_epoch is not None:
        raise InputError("mixture: instances_per_epoch is for tasks with a known number of rows; give max_steps.")
