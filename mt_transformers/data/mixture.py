"""How the rows of the tasks are interleaved: shares, order, batching, when an epoch ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import InputError, check_known
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
            The tasks' shares: `proportional` to their rows, `uniform`, `temperature`, `capped`, `smoothing`, or
            `weighted`; formulas at [`shares_of`].
        weights (`dict[str, float]`, *optional*): Weight of each task, for `weighted`.
        temperature (`float`, *optional*, defaults to 1.0): T, for `temperature`.
        cap (`int`, *optional*): K (rows), for `capped`.
        alpha (`float`, *optional*, defaults to 1.0): The exponent, for `smoothing`.
        order (`str`, *optional*, defaults to `"random"`):
            `random`, `round_robin` (one of each task in turn) or `sequential` (task after task): of rows in mixed
            batches, of batches in homogeneous ones.
        batches (`str`, *optional*, defaults to `"mixed"`): `mixed`, or `homogeneous`: one task a batch.
        stop (`str`, *optional*):
            When an epoch ends. `all`: every row of every task was seen once, whatever the shares (default for
            `proportional`). `first`: one task is used up. `longest`: every row was seen at least once, the rows of
            smaller tasks again and again (default otherwise).
        instances_per_epoch (`int`, *optional*):
            Rows of an epoch; floor(share x rows) of each task are taken. Takes the place of `stop`.

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
    order: str = "random"
    batches: Literal["mixed", "homogeneous"] = "mixed"
    stop: Literal["all", "first", "longest"] | None = None
    instances_per_epoch: int | None = None

    def __post_init__(self) -> None:
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
        self._check_belonging()

    def _check_belonging(self) -> None:
        belongs = {"weights": "weighted", "temperature": "temperature", "cap": "capped", "alpha": "smoothing"}
        for name, sampling in belongs.items():
            if getattr(self, name) != getattr(Mixture, name) and self.sampling != sampling:
                raise InputError(f"mixture: {name} belongs to sampling {sampling!r}, found {self.sampling!r}.")
        if self.instances_per_epoch is not None and type(self.instances_per_epoch) is not int:
            raise InputError(
                f"mixture: expected a number of rows as instances_per_epoch, found {self.instances_per_epoch!r}."
            )
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
        if self.weights is not None:
            check_known(self.weights, sizes, "mixture, weights", "task")
            lacking = [name for name in sizes if name not in self.weights]
            if lacking or sum(self.weights.values()) <= 0:
                fault = f"none for {lacking[0]!r}" if lacking else "only zeros"
                raise InputError(f"mixture: expected a weight for each task, not all of them 0; found {fault}.")
        return shares_of(self.sampling, sizes, self.weights, self.temperature, self.cap or 1, self.alpha)

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
        turns = [sizes[name] / share for name, share in shares.items() if share > 0]
        total = self.instances_per_epoch or (min(turns) if stop == "first" else max(turns))
        # a share such as 1/3 times 3 rows shall be 1 row, not 0.999...
        rows = {name: math.floor(share * total + 1e-6) for name, share in shares.items()}
        for name, share in shares.items():
            if share > 0 and rows[name] == 0:
                raise InputError(f"mixture: task {name!r} has a share of {share:.4g}, which is no row of {total:.0f}.")
        return rows

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
