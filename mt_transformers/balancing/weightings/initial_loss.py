"""Each loss in units of what it was at first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from .linear import SMALLEST_SIZE, LinearWeighting, weights_for_sizes

__all__ = ["InitialLossWeighting"]


class InitialLossWeighting(LinearWeighting):
    """
    Each loss divided by what it was in the first step with the head; in that step its weight is 1.

    A loss below 1e-8 is none to divide by: the head's first one from there up counts, and its weight is 1 until then.
    An absent head keeps what it has.

    Source: the ratio is the `L(t) / L(0)` of Chen et al. (2018), "GradNorm", https://arxiv.org/abs/1711.02257, section
    3.1, where it measures how fast a task trains; as a weight it makes all heads' losses start at 1.

    Args:
        heads (`Sequence[str]`): Names of the heads.

    Example:
        >>> method = InitialLossWeighting(["intent", "slots"])
        >>> method.observe(torch.tensor([4.0, 0.5]), torch.tensor([True, False]))
        >>> method.observe(torch.tensor([3.0, 2.0]), torch.tensor([True, True]))
        >>> method.weigh(torch.tensor([2.0, 1.0]), torch.tensor([True, True]))
        tensor([0.2500, 0.5000])
    """

    name: ClassVar[str] = "initial_loss"

    initial_losses: torch.Tensor

    def __init__(self, heads: Sequence[str]) -> None:
        super().__init__(heads)
        # (num_heads,), 0 until there is one
        self.register_buffer("initial_losses", torch.zeros(len(self.heads)))

    def find_weights(self, present: torch.Tensor) -> torch.Tensor:
        return weights_for_sizes(self.initial_losses)

    @torch.no_grad()
    def observe(self, losses: torch.Tensor, present: torch.Tensor) -> None:
        first = present & (losses >= SMALLEST_SIZE) & (self.initial_losses == 0)
        self.initial_losses.copy_(torch.where(first, losses, self.initial_losses))
