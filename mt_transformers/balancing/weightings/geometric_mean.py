"""The geometric mean of the losses."""

from __future__ import annotations

from typing import ClassVar

import torch

from .base import LossWeighting

__all__ = ["GeometricMean"]

_SMALLEST_LOSS = 1e-8


class GeometricMean(LossWeighting):
    """
    Geometric loss strategy (GLS): the geometric mean of the losses of the heads in the step.

    A head's weight is the mean divided by its loss and by their number, so that all weighted losses are the same. It
    is for losses above 0. A loss below 1e-8 counts as 1e-8 and its head gets the weight 0: there is nothing left to
    lower.

    Source: Chennupati et al. (2019), "MultiNet++", https://arxiv.org/abs/1904.08492, the geometric loss strategy.

    Args:
        heads (`Sequence[str]`): Names of the heads.

    Example:
        >>> method = GeometricMean(["intent", "slots", "banking"])
        >>> method.weigh(torch.tensor([4.0, 1.0, 9.0]), torch.tensor([True, True, False]))
        tensor([0.2500, 1.0000, 0.0000])
    """

    name: ClassVar[str] = "geometric_mean"
    needs_losses: ClassVar[bool] = True

    def forward(self, losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        # the logarithm of an absent head's 1 adds nothing
        logarithms = torch.where(present, losses, 1.0).clamp(min=_SMALLEST_LOSS).log()
        return torch.exp(logarithms.sum() / present.sum())
