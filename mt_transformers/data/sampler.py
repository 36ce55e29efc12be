"""The batches of an epoch: which rows, in which order, on which process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from .length_groups import LENGTH_GROUP_WINDOW, group_by_length, group_within_tasks
from .mixture import Mixture
from .passes import ShuffledPasses

__all__ = ["MultiTaskBatchSampler"]

_BLOCK_ROWS = 2**16
"""Rows found at once where none are grouped: many, so that little is done for each batch."""


class MultiTaskBatchSampler(torch.utils.data.Sampler[list[int]]):
    """
    Batches of row numbers over several tasks, settled by (seed, epoch).

    For several processes it yields their batches in turn, one for each process and step, all parts of one global
    batch of `batch_size x num_processes` rows, as accelerate's `BatchSamplerShard` hands them out. The global batches
    are those of one process with that batch size: every process makes the same number of steps, sees the same tasks
    at each step where batches are homogeneous, and no row is repeated or left out to make things even. The last rows
    are dealt out evenly; a process for which none is left gets a row without its labels, written as `~row`.

    With `same_task_on_all_ranks=False` in the mixture, each process has a batch of its own instead: the batches are
    those of one process with the same batch size, dealt out in turn.

    With `lengths`, each window's rows are put into batches of like length: each task's rows change places among
    themselves, so that every window holds the rows that it holds without, and every batch as many of each task. Where
    only the rows of a window matter and not those of a batch, rows of all tasks may change places.

    An epoch needs 1 byte for each of its rows in mixed batches (none in homogeneous ones), and 4 for each row of the
    tasks that have begun.

    Args:
        sizes (`Mapping[str, int]`): Rows of each task, in the order in which the dataset has them.
        mixture ([`Mixture`]): How they are interleaved.
        batch_size (`int`): Rows of a batch on one process.
        seed (`int`, *optional*, defaults to 0): Seed of all orders.
        num_processes (`int`, *optional*, defaults to 1): Processes that share the batches.
        drop_last (`bool`, *optional*, defaults to `False`): Whether global batches that are not full are left out.
        lengths (`np.ndarray` of shape `(rows,)`, *optional*): Length of every row of all tasks (tokens).
        window (`int`, *optional*):
            Global batches among whose rows those of like length are looked for; batches of any process where each has
            its own. Defaults to [`LENGTH_GROUP_WINDOW`], in homogeneous batches to as many for each task.
        keep_tasks (`bool`, *optional*, defaults to `True`):
            Whether every place of a mixed batch keeps its task; homogeneous batches keep theirs always.

    Raises:
        InputError: If the batch size or the window is not positive, a row has no length, or an epoch has no batch.

    Example:
        >>> sampler = MultiTaskBatchSampler({"a": 5, "b": 3}, Mixture(order="round_robin"), batch_size=4)
        >>> [["a" if row < 5 else "b" for row in batch] for batch in sampler]
        [['a', 'b', 'a', 'b'], ['a', 'b', 'a', 'a']]
        >>> lengths = np.array([1, 2, 3, 4, 5, 1, 2, 3])
        >>> grouped = MultiTaskBatchSampler({"a": 5, "b": 3}, Mixture(order="round_robin"), 4, lengths=lengths)
        >>> [lengths[batch].tolist() for batch in grouped]
        [[5, 3, 4, 2], [1, 1, 2, 3]]
    """

    # accelerate's BatchSamplerShard passes batches of any size through if there is no fixed one
    batch_size: int | None = None
    drop_last = False

    def __init__(
        self,
        sizes: Mapping[str, int],
        mixture: Mixture,
        batch_size: int,
        seed: int = 0,
        num_processes: int = 1,
        drop_last: bool = False,
        lengths: np.ndarray | None = None,
        window: int | None = None,
        keep_tasks: bool = True,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"expected a batch size of at least 1, found {batch_size}.")
        self._mixture = mixture
        self._seed = seed
        self._epoch = 0
        self._num_processes = num_processes
        self._drop_short = drop_last
        self._task_sizes = dict(sizes)
        self._sizes = np.array(list(sizes.values()))
        self._starts = np.cumsum(self._sizes) - self._sizes
        own = mixture.batch_sizes or {}
        # processes that share a batch of the schedule
        self._sharing = num_processes if mixture.same_task_on_all_ranks else 1
        # rows of such a batch: of each task where batches are homogeneous, else of all together
        self._global_sizes = np.array([own.get(name, batch_size) for name in sizes]) * self._sharing
        self._global_size = batch_size * self._sharing
        self._lengths = lengths
        self._keep_tasks = keep_tasks
        self._window = self._find_window(window)
        # rows that each epoch so far has taken of each task
        self._history = [self._rows_now()]
        if len(self) == 0:
            smallest = self._global_sizes.min() if mixture.batches == "homogeneous" else self._global_size
            several = f"{num_processes} batches" if self._sharing < num_processes else "batch"
            raise InputError(f"an epoch of {self._history[0].sum()} rows has no {several} of {smallest} rows.")

    def _find_window(self, given: int | None) -> int:
        """Batches of the schedule that are made at once."""
        if self._lengths is None:
            return max(1, _BLOCK_ROWS // self._global_size)
        if len(self._lengths) != self._sizes.sum():
            raise InputError(f"expected a length for each of {self._sizes.sum()} rows, found {len(self._lengths)}.")
        if given is not None and given < 1:
            raise InputError(f"expected a window of at least 1 batch, found {given}.")
        places = len(self._sizes) if self._mixture.batches == "homogeneous" else 1
        return given or LENGTH_GROUP_WINDOW * places

    def __len__(self) -> int:
        batches = int(self._batches_of(self._history[0]).sum())
        apart = self._num_processes // self._sharing
        steps = batches // apart if self._drop_short else -(-batches // apart)
        return steps * self._num_processes

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields; shares that change with training change here."""
        self._epoch = epoch
        while self._mixture.sampling == "dynamic" and len(self._history) <= epoch:
            self._history.append(self._rows_now())

    def update_from_metrics(self, metrics: Mapping[str, float]) -> None:
        """
        Hand an evaluation's metrics to the mixture.

        Args:
            metrics (`Mapping[str, float]`): Metrics by name.
        """
        self._mixture.update_from_metrics(metrics)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to yield the same batches, as JSON values."""
        return {"history": [rows.tolist() for rows in self._history], "mixture": self._mixture.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what [`state_dict`] gave."""
        self._history = [np.array(rows) for rows in state["history"]]
        self._mixture.load_state_dict(state["mixture"])

    def __iter__(self) -> Iterator[list[int]]:
        first, number = 0, 0
        for rows, sizes in self.blocks():
            start = 0
            for size in sizes.tolist():
                if number % self._num_processes == 0:
                    # the first process of a step always has a row
                    first = int(rows[start])
                yield rows[start : start + size].tolist() or [~first]
                start += size
                number += 1

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """
        Go through an epoch many batches at a time.

        Yields:
            `tuple[np.ndarray, np.ndarray]`: The rows of a number of batches, and how many each batch has; 0 where it
            is a row without labels that is to be put there.
        """
        # the order of the tasks must not depend on the shuffling of their rows: a stream of its own
        rng = np.random.default_rng([self._seed, self._epoch, len(self._sizes)])
        # (tasks,)
        counts = self._history[self._epoch if self._mixture.sampling == "dynamic" else 0]
        passes = [
            ShuffledPasses(int(size), self._seed, task, self._taken_before(task))
            for task, size in enumerate(self._sizes)
        ]
        draw = self._homogeneous if self._mixture.batches == "homogeneous" else self._mixed
        batches = 0
        for rows, sizes in draw(counts, passes, rng):
            batches += len(sizes)
            # (batches, processes that share them)
            parts = sizes[:, None] // self._sharing + (np.arange(self._sharing) < sizes[:, None] % self._sharing)
            yield rows, parts.reshape(-1)
        lacking = len(self) - batches * self._sharing
        yield np.empty(0, dtype=np.int64), np.zeros(lacking, dtype=np.int64)

    def _mixed(
        self, counts: np.ndarray, passes: list[ShuffledPasses], rng: np.random.Generator
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows of a window of global batches, and how many each has."""
        tasks, size = self._mixture.schedule(counts, rng), self._global_size
        if self._drop_short:
            tasks = tasks[: len(tasks) // size * size]
        for start in range(0, len(tasks), self._window * size):
            own = tasks[start : start + self._window * size]
            rows = np.empty(len(own), dtype=np.int64)
            for task in np.flatnonzero(np.bincount(own)):
                places = own == task
                rows[places] = passes[task].take(int(places.sum())) + self._starts[task]
            sizes = np.full(-(-len(rows) // size), size)
            sizes[-1] -= len(sizes) * size - len(rows)
            yield self._grouped(rows, size, rng, own if self._keep_tasks else None), sizes

    def _homogeneous(
        self, counts: np.ndarray, passes: list[ShuffledPasses], rng: np.random.Generator
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows of a window of batches, each of one task, and how many each has."""
        left = counts.copy()
        tasks = self._mixture.schedule(self._batches_of(counts), rng)[: len(self) // self._sharing]
        for start in range(0, len(tasks), self._window):
            own = tasks[start : start + self._window]
            batches = [np.empty(0, dtype=np.int64)] * len(own)
            for task in np.flatnonzero(np.bincount(own)):
                places, size = np.flatnonzero(own == task), int(self._global_sizes[task])
                rows = passes[task].take(min(len(places) * size, int(left[task]))) + self._starts[task]
                left[task] -= len(rows)
                rows = self._grouped(rows, size, rng)
                for number, place in enumerate(places):
                    batches[place] = rows[number * size : (number + 1) * size]
            yield np.concatenate(batches), np.array([len(batch) for batch in batches])

    def _grouped(
        self, rows: np.ndarray, batch_size: int, rng: np.random.Generator, tasks: np.ndarray | None = None
    ) -> np.ndarray:
        """Rows in the order of batches of like length, at every place one of the task there, if tasks are given."""
        if self._lengths is None:
            return rows
        lengths = self._lengths[rows]
        if tasks is None:
            return np.asarray(rows[group_by_length(lengths, batch_size, rng)])
        return np.asarray(rows[group_within_tasks(lengths, tasks, batch_size, rng)])

    def _rows_now(self) -> np.ndarray:
        """Rows that the mixture would take of each task in an epoch that begins now."""
        rows = self._mixture.rows_per_epoch(self._task_sizes)
        counts = np.array([rows[name] for name in self._task_sizes])
        if self._mixture.sampling == "dynamic" and self._mixture.batches == "homogeneous":
            # whole batches, so that every epoch has the same number of them
            batches = self._mixture.divide(self._task_sizes, max(1, int(counts.sum()) // self._global_size))
            counts = np.array([batches[name] for name in self._task_sizes]) * self._global_sizes
        return counts

    def _batches_of(self, rows: np.ndarray) -> np.ndarray:
        """Global batches that rows of each task make: of each task where batches are homogeneous, else of all."""
        if self._mixture.batches == "homogeneous":
            groups, sizes = rows, self._global_sizes
        else:
            groups, sizes = rows.sum(keepdims=True), np.array([self._global_size])
        return np.asarray(groups // sizes if self._drop_short else -(-groups // sizes))

    def _taken_before(self, task: int) -> int:
        """Rows of a task that the epochs before this one have taken."""
        if self._mixture.sampling == "dynamic":
            return int(sum(rows[task] for rows in self._history[: self._epoch]))
        return self._epoch * int(self._history[0][task])
