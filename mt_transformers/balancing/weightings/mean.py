"""The mean of the losses."""

from __future__ import annotations

from typing import ClassVar

import torch

from .base import LossWeighting

__all__ = ["MeanWeighting"]


class MeanWeighting(LossWeighting):
    """
    The mean of the losses of the heads in the step, each with the weight `1 / number of heads in the step`.

    A step with few heads so moves the backbone as far as one with many, which the sum does not.

    Source: none; it is equal weighting.

    Args:
        heads (`Sequence[str]`): Names of the heads.

    Example:
        >>> method = MeanWeighting(["intent", "slots", "banking"])
        >>> method.weigh(torch.tensor([2.0, 4.0, 1.0]), torch.tensor([True, True, False]))
        tensor([0.5000, 0.5000, 0.0000])
    """

    name: ClassVar[str] = "mean"

    def forward(self, losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        return torch.where(present, losses, 0.0).sum() / present.sum()
