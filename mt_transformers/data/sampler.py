"""The batches of an epoch: which rows, in which order, on which process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from .mixture import Mixture

__all__ = ["MultiTaskBatchSampler"]


class MultiTaskBatchSampler(torch.utils.data.Sampler[list[int]]):
    """
    Batches of row numbers over several tasks, settled by (seed, epoch).

    For several processes it yields their batches in turn, one for each process and step, all parts of one global
    batch of `batch_size x num_processes` rows, as accelerate's `BatchSamplerShard` hands them out. The global batches
    are those of one process with that batch size: every process makes the same number of steps, sees the same tasks
    at each step where batches are homogeneous, and no row is repeated or left out to make things even. The last rows
    are dealt out evenly; a process for which none is left gets a row without its labels, written as `~row`.

    Args:
        sizes (`Mapping[str, int]`): Rows of each task, in the order in which the dataset has them.
        mixture ([`Mixture`]): How they are interleaved.
        batch_size (`int`): Rows of a batch on one process.
        seed (`int`, *optional*, defaults to 0): Seed of all orders.
        num_processes (`int`, *optional*, defaults to 1): Processes that share the batches.
        drop_last (`bool`, *optional*, defaults to `False`): Whether global batches that are not full are left out.

    Raises:
        InputError: If the batch size is not positive, or an epoch has no batch.

    Example:
        >>> sampler = MultiTaskBatchSampler({"a": 5, "b": 3}, Mixture(order="round_robin"), batch_size=4)
        >>> [["a" if row < 5 else "b" for row in batch] for batch in sampler]
        [['a', 'b', 'a', 'b'], ['a', 'b', 'a', 'a']]
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
        # rows of a global batch: of each task where batches are homogeneous, else of all together
        self._global_sizes = np.array([own.get(name, batch_size) for name in sizes]) * num_processes
        self._global_size = batch_size * num_processes
        # rows that each epoch so far has taken of each task
        self._history = [self._rows_now()]
        if self._batches_of(self._history[0]).sum() == 0:
            smallest = self._global_sizes.min() if mixture.batches == "homogeneous" else self._global_size
            raise InputError(f"an epoch of {self._history[0].sum()} rows has no batch of {smallest} rows.")

    def __len__(self) -> int:
        return int(self._batches_of(self._history[0]).sum()) * self._num_processes

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
        # the order of the tasks must not depend on the shuffling of their rows: a stream of its own
        rng = np.random.default_rng([self._seed, self._epoch, len(self._sizes)])
        rows = [self._rows_of_task(task) for task in range(len(self._sizes))]
        batches = self._homogeneous(rows, rng) if self._mixture.batches == "homogeneous" else self._mixed(rows, rng)
        for batch in batches:
            for part in np.array_split(batch, self._num_processes):
                yield part.tolist() or [~int(batch[0])]

    def _mixed(self, rows: list[np.ndarray], rng: np.random.Generator) -> Iterator[np.ndarray]:
        counts = np.array([len(numbers) for numbers in rows])
        tasks = self._mixture.schedule(counts, rng)
        order = np.empty(len(tasks), dtype=np.int64)
        for task, numbers in enumerate(rows):
            order[tasks == task] = numbers
        for number in range(int(self._batches_of(counts)[0])):
            yield order[number * self._global_size : (number + 1) * self._global_size]

    def _homogeneous(self, rows: list[np.ndarray], rng: np.random.Generator) -> Iterator[np.ndarray]:
        batches = self._batches_of(np.array([len(numbers) for numbers in rows]))
        done = [0] * len(rows)
        for task in self._mixture.schedule(batches, rng):
            end = done[task] + int(self._global_sizes[task])
            yield rows[task][done[task] : end]
            done[task] = end

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

    def _rows_of_task(self, task: int) -> np.ndarray:
        """Numbers of the rows that this epoch takes of a task: the next ones of an endless row of shuffled passes."""
        number = self._epoch if self._mixture.sampling == "dynamic" else 0
        size, count = int(self._sizes[task]), int(self._history[number][task])
        first = self._taken_before(task)
        passes = range(first // size, (first + count - 1) // size + 1) if count else range(0)
        shuffled = [np.random.default_rng([self._seed, task, each, 1]).permutation(size) for each in passes]
        offset = first - (first // size) * size
        rows = np.concatenate(shuffled)[offset : offset + count] if shuffled else np.empty(0, dtype=np.int64)
        return np.asarray(rows + self._starts[task])
