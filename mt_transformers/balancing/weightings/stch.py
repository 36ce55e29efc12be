"""Smooth Tchebycheff scalarization: a smooth maximum of the losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from ..option_checks import check_positive
from .base import LossWeighting

__all__ = ["SmoothTchebycheff"]


class SmoothTchebycheff(LossWeighting):
    """
    Smooth Tchebycheff scalarization (STCH): `mu * log(sum(exp(loss / (m * mu))))` over the `m` heads in the step.

    It comes the nearer to the largest loss, divided by `m`, the smaller `mu` is; the larger, the nearer the weights
    are to each other. They sum to `1 / m`. All heads have the same preference, `1 / m`, and the ideal point is 0: the
    losses come with their `loss_weights` already.

    Source: Lin et al. (2024), "Smooth Tchebycheff Scalarization for Multi-Objective Optimization",
    https://arxiv.org/abs/2402.19078, section 3, centred at the largest loss as in its appendix B.1. `mu` is that of
    the authors' code, https://github.com/Xi-L/STCH, which takes the logarithm of losses in units of earlier ones;
    here they are taken as they are, as in TorchJD, so that a smaller `mu` may suit losses below 1.

    Args:
        heads (`Sequence[str]`): Names of the heads.
        mu (`float`, *optional*, defaults to 1.0): How smooth the maximum is, in units of the loss.

    Raises:
        InputError: If `mu` is not above 0.

    Example:
        >>> method = SmoothTchebycheff(["intent", "slots", "banking"], mu=0.5)
        >>> method.weigh(torch.tensor([2.0, 1.0, 9.0]), torch.tensor([True, True, False]))
        tensor([0.3655, 0.1345, 0.0000])
    """

    name: ClassVar[str] = "stch"
    needs_losses: ClassVar[bool] = True

    def __init__(self, heads: Sequence[str], *, mu: float = 1.0) -> None:
        super().__init__(heads)
        check_positive("mu", mu)
        self.mu = mu

    def forward(self, losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        # (num_heads,)
        preferred = torch.where(present, losses / present.sum(), -torch.inf)
        largest = preferred.detach().max()
        # the exponents of large losses would overflow under a small mu
        exponents = (preferred - largest) / self.mu
        return self.mu * torch.logsumexp(exponents, dim=0) + largest
