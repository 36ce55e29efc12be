"""Methods that draw the order of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from .options import whole_number
from .step_draws import StepDraws
from .torchjd_aggregation import TorchJDAggregation

__all__ = ["DrawnAggregation", "PCGrad"]


class DrawnAggregation(TorchJDAggregation):
    """
    Base class of the methods that draw something in each step; `path` is the class of TorchJD.

    What is drawn follows from the seed and the number of steps with several tasks; the global generators are left
    alone.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.
        seed (`int`, *optional*, defaults to 0): Seed of what is drawn.
        **options (`float`): Arguments of the class of TorchJD.

    Raises:
        InputError: If an option has a wrong value, or TorchJD is not installed.
    """

    path: ClassVar[str]

    def __init__(self, tasks: Sequence[str], *, seed: int = 0, **options: float) -> None:
        super().__init__(tasks, self.path, (), **options)
        self._draws = StepDraws(whole_number(self.name, "seed", seed, least=0))

    def _weigh_several(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        self._draws.begin_step()
        with self._draws.drawing():
            return super()._weigh_several(gramian, present)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self._draws.state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self._draws.load_state_dict(state)


class PCGrad(DrawnAggregation):
    """
    Gradient surgery: each gradient loses its parts against the others, one after the other, and then all are summed.

    With two tasks none gets worse in a step that is small enough; with more this need not be so. The order of the
    others is drawn for each task in each step.

    Source: Yu et al. (2020), https://arxiv.org/abs/2001.06782, algorithm 1.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.
        seed (`int`, *optional*, defaults to 0): Seed of the orders.

    Raises:
        InputError: If the seed is no whole number of at least 0, or TorchJD is not installed.

    Example:
        >>> gramian = torch.tensor([[4.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
        >>> PCGrad(["pos", "ner"]).weigh(gramian, [0, 1])
        tensor([1.2500, 2.0000], dtype=torch.float64)
    """

    name: ClassVar[str] = "pcgrad"
    path: ClassVar[str] = "aggregation.PCGradWeighting"

    def __init__(self, tasks: Sequence[str], *, seed: int = 0) -> None:
        super().__init__(tasks, seed=seed)
