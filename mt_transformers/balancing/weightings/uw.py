"""Uncertainty weighting: each head's loss is divided by a noise that is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from ..option_checks import check_positive
from .base import LossWeighting

__all__ = ["UncertaintyWeighting"]


class UncertaintyWeighting(LossWeighting):
    """
    Uncertainty weighting: the sum of `exp(-s) / 2 * loss + s / 2`, with a log-variance `s` for each head.

    An absent head adds neither term, so that its log-variance stays: the second term alone would drive it down.

    Source: Kendall, Gal and Cipolla (2018), equation 10, in the log-variance form of its section 3.2; all start at 0,
    as there.

    Args:
        heads (`Sequence[str]`): Names of the heads.
        learning_rate (`float`, *optional*, defaults to 0.01):
            Of the log-variances. With the rate that suits a pretrained backbone they would hardly move.

    Raises:
        InputError: If the learning rate is not above 0.

    Example:
        >>> method = UncertaintyWeighting(["intent", "slots"])
        >>> method.weigh(torch.tensor([2.0, 4.0]), torch.tensor([True, False]))
        tensor([0.5000, 0.0000])
    """

    name: ClassVar[str] = "uw"

    def __init__(self, heads: Sequence[str], *, learning_rate: float = 0.01) -> None:
        super().__init__(heads)
        check_positive("learning_rate", learning_rate)
        self.learning_rate = learning_rate
        self.log_variances = nn.Parameter(torch.zeros(len(self.heads)))

    def forward(self, losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        losses = torch.where(present, losses, 1.0)
        terms = 0.5 * torch.exp(-self.log_variances) * losses + 0.5 * self.log_variances
        return torch.where(present, terms, 0.0).sum()
