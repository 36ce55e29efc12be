"""The trimmed mean: in each entry the most extreme gradients are left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from ...errors import InputError
from .base import CoordinateAggregation
from .options import whole_number
from .torchjd_aggregation import make_torchjd

__all__ = ["TrimmedMean"]


class TrimmedMean(CoordinateAggregation):
    """
    The trimmed mean: in each entry the largest and the smallest gradients are left out and the others averaged.

    Where fewer tasks are present in a step than it needs, it is the mean.

    Source: Yin et al. (2018), https://arxiv.org/abs/1803.01498, definition 2.

    Args:
        tasks (`Sequence[str]`): Names of the tasks, at least `2 * trim_number + 1`.
        trim_number (`int`, *optional*, defaults to 1):
            How many are left out at each end; the least that is not the mean by default.

    Raises:
        InputError: If there are too few tasks, the option has a wrong value, or TorchJD is not installed.

    Example:
        >>> method = TrimmedMean(["pos", "ner", "parse"])
        >>> method.combine(torch.tensor([[1.0, 5.0], [2.0, -9.0], [90.0, 4.0]]), [0, 1, 2])
        tensor([2., 4.])
    """

    name: ClassVar[str] = "trimmed_mean"

    def __init__(self, tasks: Sequence[str], *, trim_number: int = 1) -> None:
        super().__init__(tasks)
        trimmed = whole_number(self.name, "trim_number", trim_number, least=0)
        self._least = 2 * trimmed + 1
        if len(tasks) < self._least:
            raise InputError(
                f"{self.name}: expected at least {self._least} tasks (2 * trim_number + 1), found {len(tasks)}."
            )
        self._torchjd = make_torchjd(self.name, "aggregation.TrimmedMean", trim_number=trimmed)

    def combine(self, gradients: torch.Tensor, present: Sequence[int]) -> torch.Tensor:
        if len(present) < self._least:
            return gradients.mean(dim=0)
        combined: torch.Tensor = self._torchjd(gradients)
        return combined
