"""Priority-constrained descent: one task comes first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from ...errors import check_known
from .options import number
from .torchjd_aggregation import TorchJDAggregation

__all__ = ["Pcd"]


class Pcd(TorchJDAggregation):
    """
    Priority-constrained descent: the gradient nearest to the primary task's that gives each other task its share.

    Gradients are divided by a moving average of their norm, of which each task has its own, counted over the steps in
    which it is present. In a step without the primary task, the first of those present stands in for it.

    Source: "Not All Objectives Are Born Equal" (2026), https://arxiv.org/abs/2606.29521. Defaults are those of
    TorchJD.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.
        primary (`str`, *optional*): The task that comes first. By default the first of the tasks.
        tau (`float`, *optional*, defaults to 0.02):
            Share of the progress along its own gradient that each other task gets, from 0 to 1.
        beta (`float`, *optional*, defaults to 0.999): Decay of the moving averages, from 0 to below 1.
        eps (`float`, *optional*, defaults to 1e-8):
            Is added to them, which are squared: norms below its root, 0.0001, are not brought to 1.

    Raises:
        InputError: If an option has a wrong value, or TorchJD is not installed.

    Example:
        >>> gramian = torch.tensor([[1.0, -1.0], [-1.0, 2.0]], dtype=torch.float64)
        >>> Pcd(["pos", "ner"], tau=0).weigh(gramian, [0, 1])
        tensor([1.4142, 0.7071], dtype=torch.float64)
    """

    name: ClassVar[str] = "pcd"

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        primary: str | None = None,
        tau: float = 0.02,
        beta: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(
            tasks,
            "aggregation.PCDWeighting",
            tau=number(self.name, "tau", tau),
            beta=number(self.name, "beta", beta),
            eps=number(self.name, "eps", eps),
        )
        if primary is not None:
            check_known([primary], self.tasks, f"{self.name}: primary", "task")
        self._primary = 0 if primary is None else self.tasks.index(primary)
        self._squares = torch.zeros(len(self.tasks), dtype=torch.float64)
        self._steps = torch.zeros(len(self.tasks), dtype=torch.int64)

    def _weigh_one(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        self._average(gramian, present)
        return super()._weigh_one(gramian, present)

    def _weigh_several(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        averages, squares = self._average(gramian, present), gramian.diagonal()
        # TorchJD counts the steps of all tasks alike. In what it takes for the first step it comes to these averages.
        beta = self._torchjd.beta
        before = (1 - beta) / beta * (averages - squares) if beta > 0 else torch.zeros_like(squares)
        first = list(present).index(self._primary) if self._primary in present else 0
        order = torch.tensor([first, *(place for place in range(len(present)) if place != first)])
        self._torchjd._sq_norm_ema = before[order]
        self._torchjd._n_steps = torch.tensor(0)
        self._torchjd._state_key = len(present)
        weights = torch.empty_like(squares)
        weights[order] = self._torchjd(gramian[order[:, None], order])
        return weights

    def _average(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        """Take note of the squared norms of some tasks, and give their averages."""
        places, beta = list(present), self._torchjd.beta
        self._steps[places] += 1
        self._squares[places] = beta * self._squares[places] + (1 - beta) * gramian.diagonal()
        averages: torch.Tensor = self._squares[places] / (1 - beta ** self._steps[places])
        return averages

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"squared_norms": self._squares.clone(), "steps": self._steps.clone()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self._squares = state["squared_norms"].clone()
        self._steps = state["steps"].clone()
