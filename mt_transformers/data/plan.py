"""The table of a mixture, before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .mixture import Mixture
from .sampler import MultiTaskBatchSampler

__all__ = ["MixturePlan", "TaskPlan", "plan_mixture"]


@dataclass(frozen=True, kw_only=True)
class TaskPlan:
    """What an epoch does with the rows of one task."""

    task_name: str
    rows: int
    """Training rows of the task."""
    share: float
    """Fraction of the epoch's rows that are the task's."""
    rows_per_epoch: int
    batches: int
    """Batches of the epoch in which the task has a row (over all processes)."""
    repeats: float
    """How often an epoch sees a row of the task, on average."""
    never_seen: int
    """Rows of the task that no epoch of the run sees."""


@dataclass(frozen=True, kw_only=True)
class MixturePlan:
    """The tables that [`plan_mixture`] makes."""

    tasks: list[TaskPlan]
    head_weights: dict[str, float]
    """Expected factor of each head's mean loss in an optimizer step: its loss weight, the loss reduction and the
    steps without a row of it taken into account."""
    batches: int
    """Batches of an epoch on one process."""


def plan_mixture(
    sizes: Mapping[str, int],
    mixture: Mixture,
    batch_size: int,
    heads: Mapping[str, Sequence[str]],
    *,
    num_epochs: int = 1,
    seed: int = 0,
    num_processes: int = 1,
    drop_last: bool = False,
    gradient_accumulation_steps: int = 1,
    loss_weights: Mapping[str, float] | None = None,
    per_row: bool = False,
) -> MixturePlan:
    """
    Count what a mixture does, by going through the batches of an epoch (of all, to know what `drop_last` never shows).

    The batches are those of rows in random order: where rows are grouped by length, their tasks have the same shares,
    but may be in fewer batches.

    Args:
        sizes (`Mapping[str, int]`): Training rows of each task.
        mixture ([`Mixture`]): How they are interleaved.
        batch_size (`int`): Rows of a batch on one process.
        heads (`Mapping[str, Sequence[str]]`): For each task its heads; every row is taken to have their labels.
        num_epochs (`int`, *optional*, defaults to 1): Epochs of the run.
        seed (`int`, *optional*, defaults to 0): Seed of all orders.
        num_processes (`int`, *optional*, defaults to 1): Processes that share the batches.
        drop_last (`bool`, *optional*, defaults to `False`): Whether short batches are left out.
        gradient_accumulation_steps (`int`, *optional*, defaults to 1): Batches of an optimizer step on one process.
        loss_weights (`Mapping[str, float]`, *optional*): Weight of each head's loss.
        per_row (`bool`, *optional*, defaults to `False`): Whether the loss reduction is `per_row`.

    Returns:
        [`MixturePlan`].

    Example:
        >>> plan = plan_mixture({"a": 6, "b": 2}, Mixture(), 4, {"a": ["x"], "b": ["y"]}, per_row=True)
        >>> [task.repeats for task in plan.tasks], plan.head_weights
        ([1.0, 1.0], {'x': 0.75, 'y': 0.25})
    """
    names = list(sizes)
    sampler = MultiTaskBatchSampler(sizes, mixture, batch_size, seed, num_processes, drop_last)
    ends = np.cumsum(list(sizes.values()))
    # (batches of all processes, tasks): rows of each task
    counts = np.concatenate([_count_tasks(rows, batches, ends) for rows, batches in sampler.blocks()])
    taken = counts.sum(axis=0)
    never_seen = _never_seen(sampler, sizes, num_epochs) if drop_last else None
    plans = [
        TaskPlan(
            task_name=name,
            rows=sizes[name],
            share=float(taken[task] / taken.sum()),
            rows_per_epoch=int(taken[task]),
            batches=int((counts[:, task] > 0).sum()),
            repeats=float(taken[task] / sizes[name]),
            never_seen=max(0, sizes[name] - int(taken[task]) * num_epochs) if never_seen is None else never_seen[task],
        )
        for task, name in enumerate(names)
    ]
    per_step = _add_up(counts, num_processes * gradient_accumulation_steps)
    weights = {
        head: (loss_weights or {}).get(head, 1.0)
        * _mean_factor(per_step, [head in heads[name] for name in names], per_row)
        for head in dict.fromkeys(head for name in names for head in heads[name])
    }
    return MixturePlan(tasks=plans, head_weights=weights, batches=len(sampler) // num_processes)


def _count_tasks(rows: np.ndarray, sizes: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Rows of each task in each of the batches that the sizes cut out of the rows, shape `(batches, tasks)`."""
    tasks = np.searchsorted(ends, rows, side="right")
    places = np.repeat(np.arange(len(sizes)), sizes) * len(ends) + tasks
    return np.bincount(places, minlength=len(sizes) * len(ends)).reshape(len(sizes), len(ends))


def _never_seen(sampler: MultiTaskBatchSampler, sizes: Mapping[str, int], num_epochs: int) -> list[int]:
    """Rows of each task that are in none of the epochs' batches, counted one by one."""
    seen = np.zeros(sum(sizes.values()), dtype=bool)
    for epoch in range(num_epochs):
        sampler.set_epoch(epoch)
        for rows, _ in sampler.blocks():
            seen[rows] = True
    return [int((~part).sum()) for part in np.split(seen, np.cumsum(list(sizes.values()))[:-1])]


def _add_up(counts: np.ndarray, batches_per_step: int) -> np.ndarray:
    """Rows of each task in each optimizer step, shape `(steps, tasks)`."""
    starts = np.arange(0, len(counts), batches_per_step)
    return np.add.reduceat(counts, starts, axis=0)


def _mean_factor(per_step: np.ndarray, feeds: list[bool], per_row: bool) -> float:
    rows = per_step[:, np.array(feeds)].sum(axis=1)
    return float((rows / per_step.sum(axis=1)).mean() if per_row else (rows > 0).mean())
