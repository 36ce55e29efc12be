"""Impartial multi-task learning by losses: learnt scales bring all of them to the same size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from ..option_checks import check_positive
from .base import LossWeighting

__all__ = ["ImpartialLossWeighting"]


class ImpartialLossWeighting(LossWeighting):
    """
    Impartial multi-task learning by losses (IMTL-L): the sum of `exp(s) * loss - s`, with a log-scale `s` a head.

    It is at its least in `s` where `exp(s) * loss` is 1, for each head alike. An absent head adds neither term, so
    that its log-scale stays: the second term alone would drive it up.

    Source: Liu et al. (2021), "Towards Impartial Multi-task Learning", https://openreview.net/forum?id=IMPnRXEWpvr,
    the part for losses, with the base e. All log-scales start at 0, where the scalar is the sum of the losses. It is
    twice that of `uw` with `-s` in the place of the log-variance.

    Args:
        heads (`Sequence[str]`): Names of the heads.
        learning_rate (`float`, *optional*, defaults to 0.01):
            Of the log-scales. With the rate that suits a pretrained backbone they would hardly move.

    Raises:
        InputError: If the learning rate is not above 0.

    Example:
        >>> method = ImpartialLossWeighting(["intent", "slots"])
        >>> method.observe(torch.tensor([3.0, 0.5]), torch.tensor([True, True]))
        >>> method.log_scales.grad
        tensor([ 2.0000, -0.5000])
    """

    name: ClassVar[str] = "imtl_l"

    def __init__(self, heads: Sequence[str], *, learning_rate: float = 0.01) -> None:
        super().__init__(heads)
        check_positive("learning_rate", learning_rate)
        self.learning_rate = learning_rate
        self.log_scales = nn.Parameter(torch.zeros(len(self.heads)))

    def forward(self, losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        losses = torch.where(present, losses, 1.0)
        return torch.where(present, torch.exp(self.log_scales) * losses - self.log_scales, 0.0).sum()
