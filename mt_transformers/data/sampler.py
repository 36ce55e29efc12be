"""The batches of an epoch: which rows, in which order, on which process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
        self._global_size = batch_size * num_processes
        self._names = list(sizes)
        self._sizes = np.array(list(sizes.values()))
        self._starts = np.cumsum(self._sizes) - self._sizes
        rows = mixture.rows_per_epoch(sizes)
        self._rows = np.array([rows[name] for name in self._names])
        groups = self._rows if mixture.batches == "homogeneous" else self._rows.sum(keepdims=True)
        whole = groups // self._global_size
        self._batches = whole if drop_last else -(-groups // self._global_size)
        if self._batches.sum() == 0:
            raise InputError(f"an epoch of {self._rows.sum()} rows has no batch of {self._global_size} rows.")

    def __len__(self) -> int:
        return int(self._batches.sum()) * self._num_processes

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        # the order of the tasks must not depend on the shuffling of their rows: a stream of its own
        rng = np.random.default_rng([self._seed, self._epoch, len(self._names)])
        rows = [self._rows_of_task(task) for task in range(len(self._names))]
        batches = self._homogeneous(rows, rng) if self._mixture.batches == "homogeneous" else self._mixed(rows, rng)
        for batch in batches:
            for part in np.array_split(batch, self._num_processes):
                yield part.tolist() or [~int(batch[0])]

    def _mixed(self, rows: list[np.ndarray], rng: np.random.Generator) -> Iterator[np.ndarray]:
        tasks = self._mixture.schedule(self._rows, rng)
        order = np.empty(len(tasks), dtype=np.int64)
        for task, numbers in enumerate(rows):
            order[tasks == task] = numbers
        for number in range(int(self._batches[0])):
            yield order[number * self._global_size : (number + 1) * self._global_size]

    def _homogeneous(self, rows: list[np.ndarray], rng: np.random.Generator) -> Iterator[np.ndarray]:
        done = [0] * len(rows)
        for task in self._mixture.schedule(self._batches, rng):
            yield rows[task][done[task] : done[task] + self._global_size]
            done[task] += self._global_size

    def _rows_of_task(self, task: int) -> np.ndarray:
        """Numbers of the rows that this epoch takes of a task: the next ones of an endless row of shuffled passes."""
        size, count = int(self._sizes[task]), int(self._rows[task])
        first = self._epoch * count
        passes = range(first // size, (first + count - 1) // size + 1) if count else range(0)
        shuffled = [np.random.default_rng([self._seed, task, number, 1]).permutation(size) for number in passes]
        offset = first - (first // size) * size
        rows = np.concatenate(shuffled)[offset : offset + count] if shuffled else np.empty(0, dtype=np.int64)
        return np.asarray(rows + self._starts[task])
