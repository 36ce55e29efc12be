"""Each loss in units of what it was of late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from ..option_checks import check_fraction
from .linear import LinearWeighting, weights_for_sizes

__all__ = ["RunningMeanWeighting"]


class RunningMeanWeighting(LinearWeighting):
    """
    Each loss divided by the exponential moving mean of the head's losses in the steps before.

    All heads' losses so stay near 1, however large they were and however fast they fall. The mean goes over the steps
    with the head, is corrected for its start at 0, and is kept while the head is absent. The weight of a head that
    has not been seen, or whose mean is below 1e-8, is 1.

    Source: the moving mean and its correction are those of Kingma and Ba (2015), "Adam",
    https://arxiv.org/abs/1412.6980, section 3; as the weight of a loss it is plain rescaling and from no paper.

    Args:
        heads (`Sequence[str]`): Names of the heads.
        decay (`float`, *optional*, defaults to 0.99):
            What is left of the mean in each step with the head, from 0 to below 1; the mean reaches back about
            `1 / (1 - decay)` of them.

    Raises:
        InputError: If `decay` is not from 0 to below 1.

    Example:
        >>> method = RunningMeanWeighting(["intent", "slots"], decay=0.5)
        >>> method.observe(torch.tensor([4.0, 0.0]), torch.tensor([True, False]))
        >>> method.observe(torch.tensor([1.0, 0.5]), torch.tensor([True, True]))
        >>> method.weigh(torch.tensor([3.0, 3.0]), torch.tensor([True, True]))
        tensor([0.5000, 2.0000])
    """

    name: ClassVar[str] = "running_mean"

    running_losses: torch.Tensor
    running_ones: torch.Tensor

    def __init__(self, heads: Sequence[str], *, decay: float = 0.99) -> None:
        super().__init__(heads)
        check_fraction("decay", decay)
        self.decay = decay
        # (num_heads,)
        self.register_buffer("running_losses", torch.zeros(len(self.heads)))
        # (num_heads,), the moving mean of ones: what the other one lacks because it started at 0
        self.register_buffer("running_ones", torch.zeros(len(self.heads)))

    def find_weights(self, present: torch.Tensor) -> torch.Tensor:
        return weights_for_sizes(self.running_losses / self.running_ones)

    @torch.no_grad()
    def observe(self, losses: torch.Tensor, present: torch.Tensor) -> None:
        for running, values in ((self.running_losses, losses), (self.running_ones, torch.ones_like(losses))):
            running.copy_(torch.where(present, self.decay * running + (1 - self.decay) * values, running))
