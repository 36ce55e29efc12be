"""How the rows of the tasks are interleaved: shares, order, batching, when an epoch ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import InputError, check_known
from .dynamic import DynamicShares
from .schedule import ORDERS
from .shares import SAMPLINGS, shares_of

__all__ = ["Mixture"]

_BATCHES = ("mixed", "homogeneous")
_STOPS = ("all", "first", "longest")


@dataclass(kw_only=True)
class Mixture:
    """
    How the training rows of several tasks are interleaved.

    An epoch takes a number of rows from each task and puts them in an order; each task's own rows are shuffled, and
    none is seen twice before every row of its task was seen once, across epochs. All is settled by (seed, epoch).

    Args:
        sampling (`str`, *optional*, defaults to `"proportional"`):
            The tasks' shares: `proportional` to their rows, `uniform`, `temperature`, `capped`, `smoothing`,
            `weighted`, formulas at [`shares_of`]; or `dynamic`, see [`DynamicShares`].
        weights (`dict[str, float]`, *optional*): Weight of each task, for `weighted`.
        temperature (`float`, *optional*, defaults to 1.0): T, for `temperature`.
        cap (`int`, *optional*): K (rows), for `capped`.
        alpha (`float`, *optional*, defaults to 1.0): The exponent, for `smoothing`.
        targets (`dict[str, float]`, *optional*): Score that each task is to reach, for `dynamic`.
        order (`str`, *optional*, defaults to `"random"`):
            `random`, `round_robin` (one of each task in turn) or `sequential` (task after task): of rows in mixed
            batches, of batches in homogeneous ones.
        batches (`str`, *optional*, defaults to `"mixed"`): `mixed`, or `homogeneous`: one task a batch.
        batch_sizes (`dict[str, int]`, *optional*):
            Rows of a homogeneous batch of a task, where it is not the training arguments' batch size.
        same_task_on_all_ranks (`bool`, *optional*, defaults to `True`):
            Whether all processes train on one task at each step of homogeneous batches. If not, each has a batch of
            its own, dealt out in turn from those of one process: a step of N processes is one of N tasks at most, and
            equals one of a single process that accumulates the gradients of N batches. The rows of mixed batches are
            always dealt out to all processes.
        stop (`str`, *optional*):
            When an epoch ends. `all`: every row of every task was seen once, whatever the shares (default for
            `proportional`). `first`: one task is used up. `longest`: every row was seen at least once, the rows of
            smaller tasks again and again (default otherwise).
        instances_per_epoch (`int`, *optional*):
            Rows of an epoch; floor(share x rows) of each task are taken. Takes the place of `stop`. Under `dynamic`
            sampling, which has no `stop`, it defaults to the rows of all tasks, and every epoch has as many batches.

    Raises:
        InputError: If a value is not one of these, or does not belong to the sampling.

    Example:
        >>> Mixture(sampling="uniform", stop="first").rows_per_epoch({"a": 10, "b": 4})
        {'a': 4, 'b': 4}
    """

    sampling: str = "proportional"
    weights: dict[str, float] | None = None
    temperature: float = 1.0
    cap: int | None = None
    alpha: float = 1.0
    targets: dict[str, float] | None = None
    order: str = "random"
    batches: Literal["mixed", "homogeneous"] = "mixed"
    batch_sizes: dict[str, int] | None = None
    same_task_on_all_ranks: bool = True
    stop: Literal["all", "first", "longest"] | None = None
    instances_per_epoch: int | None = None

    def __post_init__(self) -> None:
        self._dynamic = DynamicShares(self.targets)
        check_known([self.sampling], SAMPLINGS, "mixture", "sampling")
        check_known([self.order], ORDERS, "mixture", "order")
        check_known([self.batches], _BATCHES, "mixture", "kind of batches")
        if self.stop is not None:
            check_known([self.stop], _STOPS, "mixture", "stop")
        if not (_is_number(self.temperature) and self.temperature > 0):
            raise InputError(f"mixture: expected a temperature above 0, found {self.temperature!r}.")
        if not (_is_number(self.alpha) and self.alpha >= 0):
            raise InputError(f"mixture: expected an alpha from 0 up, found {self.alpha!r}.")
        if self.sampling == "capped" and (not isinstance(self.cap, int) or self.cap < 1):
            raise InputError(f"mixture: sampling 'capped' needs a cap of at least 1 row, found {self.cap!r}.")
        if self.sampling == "weighted" and not self.weights:
            raise InputError("mixture: sampling 'weighted' needs weights, one for each task.")
        for name, weight in (self.weights or {}).items():
            if not (_is_number(weight) and weight >= 0):
                raise InputError(f"mixture: expected a weight from 0 up for task {name!r}, found {weight!r}.")
        for name, size in (self.batch_sizes or {}).items():
            if type(size) is not int or size < 1:
                raise InputError(f"mixture: expected a batch size of at least 1 for task {name!r}, found {size!r}.")
        for name, target in (self.targets or {}).items():
            if not _is_number(target):
                raise InputError(f"mixture: expected a number as target of task {name!r}, found {target!r}.")
        self._check_belonging()

    def _check_belonging(self) -> None:
        belongs = {
            "weights": "weighted",
            "temperature": "temperature",
            "cap": "capped",
            "alpha": "smoothing",
            "targets": "dynamic",
        }
        for name, sampling in belongs.items():
            if getattr(self, name) != getattr(Mixture, name) and self.sampling != sampling:
                raise InputError(f"mixture: {name} belongs to sampling {sampling!r}, found {self.sampling!r}.")
        if self.instances_per_epoch is not None and type(self.instances_per_epoch) is not int:
            raise InputError(
                f"mixture: expected a number of rows as instances_per_epoch, found {self.instances_per_epoch!r}."
            )
        if self.batch_sizes is not None and self.batches != "homogeneous":
            raise InputError("mixture: batch_sizes belong to homogeneous batches.")
        if type(self.same_task_on_all_ranks) is not bool:
            raise InputError(
                f"mixture: expected True or False as same_task_on_all_ranks, found {self.same_task_on_all_ranks!r}."
            )
        if not self.same_task_on_all_ranks and self.batches != "homogeneous":
            raise InputError("mixture: same_task_on_all_ranks belongs to homogeneous batches.")
        if self.stop is not None and self.sampling == "dynamic":
            raise InputError("mixture: dynamic sampling has no stop, an epoch has instances_per_epoch rows.")
        if self.stop is not None and self.instances_per_epoch is not None:
            raise InputError("mixture: give either stop or instances_per_epoch, not both.")

    def shares(self, sizes: Mapping[str, int]) -> dict[str, float]:
        """
        Share of each task.

        Args:
            sizes (`Mapping[str, int]`): Training rows of each task.

        Returns:
            `dict[str, float]`: Shares that add up to 1.

        Raises:
            InputError: If the weights are not those of the tasks, or all 0.
        """
        for name in ("weights", "targets", "batch_sizes"):
            check_known(getattr(self, name) or {}, sizes, f"mixture, {name}", "task")
        if self.sampling == "dynamic":
            return shares_of(self.sampling, sizes, self._dynamic.weights(list(sizes)))
        if self.weights is not None:
            lacking = [name for name in sizes if name not in self.weights]
            if lacking or sum(self.weights.values()) <= 0:
                fault = f"none for {lacking[0]!r}" if lacking else "only zeros"
                raise InputError(f"mixture: expected a weight for each task, not all of them 0; found {fault}.")
        return shares_of(self.sampling, sizes, self.weights, self.temperature, self.cap or 1, self.alpha)

    def update_from_metrics(self, metrics: Mapping[str, float]) -> None:
        """
        Hand an evaluation's metrics to the shares; `dynamic` ones change with the next epoch.

        Args:
            metrics (`Mapping[str, float]`): Metrics by name, as [`MultiTaskTrainer.evaluate`] gives them.
        """
        self._dynamic.update_from_metrics(metrics)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, as JSON values."""
        return self._dynamic.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what [`state_dict`] gave."""
        self._dynamic.load_state_dict(state)

    def rows_per_epoch(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """
        Rows that an epoch takes of each task.

        Args:
            sizes (`Mapping[str, int]`): Training rows of each task.

        Returns:
            `dict[str, int]`: The rows; more than the task has where its rows repeat.

        Raises:
            InputError: If an epoch would have no row of a task whose share is above 0.
        """
        shares = self.shares(sizes)
        if self.instances_per_epoch is not None and self.instances_per_epoch < len(sizes):
            raise InputError(
                f"mixture: instances_per_epoch is {self.instances_per_epoch}, expected at least one row for each of "
                f"the {len(sizes)} tasks."
            )
        stop = self.stop or ("all" if self.sampling == "proportional" else "longest")
        if self.instances_per_epoch is None and stop == "all":
            return dict(sizes)
        if self.sampling == "dynamic":
            return self.divide(sizes, self.instances_per_epoch or sum(sizes.values()))
        turns = [sizes[name] / share for name, share in shares.items() if share > 0]
        total = self.instances_per_epoch or (min(turns) if stop == "first" else max(turns))
        # a share such as 1/3 times 3 rows shall be 1 row, not 0.999...
        rows = {name: math.floor(share * total + 1e-6) for name, share in shares.items()}
        for name, share in shares.items():
            if share > 0 and rows[name] == 0:
                raise InputError(f"mixture: task {name!r} has a share of {share:.4g}, which is no row of {total:.0f}.")
        return rows

    def divide(self, sizes: Mapping[str, int], total: int) -> dict[str, int]:
        """
        Deal out a number of rows, or batches, by the shares; what is left over goes to the largest remainders.

        Where there is enough for all, no task goes without: a share of less than one counts as one.

        Args:
            sizes (`Mapping[str, int]`): Training rows of each task.
            total (`int`): What is to be dealt out.

        Returns:
            `dict[str, int]`: Whole numbers that add up to the total.
        """
        shares = self.shares(sizes)
        dealt = {name: math.floor(share * total) for name, share in shares.items()}
        by_remainder = sorted(shares, key=lambda name: dealt[name] - shares[name] * total)
        for name in by_remainder[: total - sum(dealt.values())]:
            dealt[name] += 1
        for name, share in shares.items():
            if dealt[name] == 0 and share > 0 and total >= len(shares):
                dealt[max(dealt, key=lambda each: dealt[each])] -= 1
                dealt[name] = 1
        return dealt

    def schedule(self, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """
        Order in which the tasks come.

        Args:
            counts (`np.ndarray` of shape `(tasks,)`): Rows (mixed) or batches (homogeneous) of each task.
            rng (`np.random.Generator`): Source of randomness.

        Returns:
            `np.ndarray` of shape `(counts.sum(),)`: Indices of tasks.
        """
        return ORDERS[self.order](counts, rng)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
