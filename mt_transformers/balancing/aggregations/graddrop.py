"""GradDrop: in each entry only the gradients of one sign are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch

from .base import CoordinateAggregation
from .options import numbers_by_task, whole_number
from .step_draws import StepDraws
from .torchjd_aggregation import make_torchjd

__all__ = ["GradDrop"]


class GradDrop(CoordinateAggregation):
    """
    Gradient sign dropout: for each entry a sign is drawn, the likelier the more of the gradients have it; those of the
    other sign are dropped and the rest is summed.

    With one task alone its gradient is taken as it is.

    Source: Chen et al. (2020), https://arxiv.org/abs/2010.06808, algorithm 1, lines 10 to 15.

    Args:
        tasks (`Sequence[str]`): Names of the tasks.
        leak (`Mapping[str, float]`, *optional*):
            For each task the share of its gradient that is never dropped, from 0 to 1. By default 0.
        seed (`int`, *optional*, defaults to 0): Seed of the signs.

    Raises:
        InputError: If an option has a wrong value, or TorchJD is not installed.

    Example:
        >>> method = GradDrop(["pos", "ner"])
        >>> method.begin_step()
        >>> method.combine(torch.tensor([[1.0, -2.0], [3.0, -1.0]]), [0, 1])
        tensor([ 4., -3.])
    """

    name: ClassVar[str] = "graddrop"

    def __init__(self, tasks: Sequence[str], *, leak: Mapping[str, float] | None = None, seed: int = 0) -> None:
        super().__init__(tasks)
        self._leak = None if leak is None else numbers_by_task(self.name, "leak", leak, tasks, least=0, most=1)
        self._draws = StepDraws(whole_number(self.name, "seed", seed, least=0))
        self._part = 0
        self._torchjd = make_torchjd(self.name, "aggregation.GradDrop")

    def begin_step(self) -> None:
        self._draws.begin_step()
        self._part = 0

    def combine(self, gradients: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        part, self._part = self._part, self._part + 1
        if len(present) == 1:
            return gradients[0]
        on_cuda = gradients.device.type == "cuda"
        # generators of devices other than these two have ways of their own
        rows = gradients if on_cuda else gradients.cpu()
        if self._leak is not None:
            self._torchjd.leak = self._leak[list(present)].to(rows)
        with self._draws.drawing(part, rows.device if on_cuda else None):
            combined: torch.Tensor = self._torchjd(rows)
        return combined.to(gradients.device)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self._draws.state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self._draws.load_state_dict(state)
