"""GradVac: gradients are turned towards a cosine that is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from .drawn import DrawnAggregation
from .options import number

__all__ = ["GradVac"]


class GradVac(DrawnAggregation):
    """
    Gradient vaccine: where two gradients agree less than they used to, one is turned towards the other; then all are
    summed.

    It remembers a moving average of the cosine of each two tasks, which begins at 0; those of tasks that are absent
    stay. The order of the others is drawn for each task in each step.

    Source: Wang et al. (2021), https://arxiv.org/abs/2010.05874, algorithm 1. Defaults are those of TorchJD.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.
        beta (`float`, *optional*, defaults to 0.5): Weight of the newest cosine in the average, from 0 to 1.
        eps (`float`, *optional*, defaults to 1e-8): Keeps it from dividing by zero.
        seed (`int`, *optional*, defaults to 0): Seed of the orders.

    Raises:
        InputError: If an option has a wrong value, or TorchJD is not installed.

    Example:
        >>> gramian = torch.tensor([[4.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
        >>> GradVac(["pos", "ner"]).weigh(gramian, [0, 1])
        tensor([1.2500, 2.0000], dtype=torch.float64)
    """

    name: ClassVar[str] = "gradvac"
    path: ClassVar[str] = "aggregation.GradVacWeighting"

    def __init__(self, tasks: Sequence[str], *, beta: float = 0.5, eps: float = 1e-8, seed: int = 0) -> None:
        super().__init__(tasks, seed=seed, beta=number(self.name, "beta", beta), eps=number(self.name, "eps", eps))
        self._cosines = torch.zeros(len(self.tasks), len(self.tasks), dtype=torch.float64)

    def _weigh_several(self, gramian: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        places = torch.tensor(list(present))
        # TorchJD forgets all where the number of gradients changes: it is given those that are present, and a key
        # that says that they are its own
        self._torchjd._phi_t = self._cosines[places[:, None], places]
        self._torchjd._state_key = (len(present), gramian.dtype)
        weights = super()._weigh_several(gramian, present)
        self._cosines[places[:, None], places] = self._torchjd._phi_t
        return weights

    def state_dict(self) -> dict[str, torch.Tensor]:
        return super().state_dict() | {"cosines": self._cosines.clone()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        super().load_state_dict(state)
        self._cosines = state["cosines"].clone()
