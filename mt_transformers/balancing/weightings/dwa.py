"""Dynamic weight average: heads whose losses fall slowly get more weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from ..option_checks import check_positive, check_whole
from .linear import SMALLEST_SIZE, LinearWeighting

__all__ = ["DynamicWeightAverage"]


class DynamicWeightAverage(LinearWeighting):
    """
    Dynamic weight average (DWA): `K * softmax(ratio / temperature)`, where a head's ratio is its average loss of the
    last period divided by that of the period before.

    An average goes over the steps of the period in which the head was present. A head's ratio is 1 until it has two
    averages, so that all weights are 1 at first. A head that is absent for a whole period keeps its average and its
    ratio; it keeps its ratio, too, if the earlier average is nearer to 0 than 1e-8. The weights of all `K` heads sum
    to `K`, whichever of them a step has: that another head is absent changes no weight.

    Source: Liu, Johns and Davison (2019), "End-to-End Multi-Task Learning with Attention",
    https://arxiv.org/abs/1803.10704, equation 7, with their temperature and an epoch as the period.

    Args:
        heads (`Sequence[str]`): Names of the heads.
        temperature (`float`, *optional*, defaults to 2.0): The larger, the more even the weights.
        period (`int`, *optional*): How many (optimizer steps) an average goes over. Defaults to an epoch.

    Raises:
        InputError: If the temperature is not above 0 or the period is no whole number above 0.

    Example:
        >>> method = DynamicWeightAverage(["intent", "slots"], period=1)
        >>> present = torch.tensor([True, True])
        >>> method.observe(torch.tensor([4.0, 4.0]), present)
        >>> method.observe(torch.tensor([4.0, 1.0]), present)
        >>> method.weigh(torch.tensor([2.0, 1.0]), present)
        tensor([1.1853, 0.8147])
    """

    name: ClassVar[str] = "dwa"

    loss_sums: torch.Tensor
    steps: torch.Tensor
    averages: torch.Tensor
    has_average: torch.Tensor
    ratios: torch.Tensor
    steps_in_period: torch.Tensor

    def __init__(self, heads: Sequence[str], *, temperature: float = 2.0, period: int | None = None) -> None:
        super().__init__(heads)
        check_positive("temperature", temperature)
        if period is not None:
            check_whole("period", period, "a whole number of optimizer steps above 0, or null for an epoch", least=1)
        self.temperature = temperature
        self.period = period
        size = len(self.heads)
        # (num_heads,), of the period that is on
        self.register_buffer("loss_sums", torch.zeros(size))
        self.register_buffer("steps", torch.zeros(size))
        # (num_heads,), of the periods before
        self.register_buffer("averages", torch.zeros(size))
        self.register_buffer("has_average", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("ratios", torch.ones(size))
        # (), of any heads
        self.register_buffer("steps_in_period", torch.tensor(0))

    def find_weights(self, present: torch.Tensor) -> torch.Tensor:
        return len(self.heads) * torch.softmax(self.ratios / self.temperature, dim=0)

    @torch.no_grad()
    def observe(self, losses: torch.Tensor, present: torch.Tensor) -> None:
        self.loss_sums += torch.where(present, losses, 0.0)
        self.steps += present
        if self.period is not None:
            self.steps_in_period += 1
            self._end_period(self.steps_in_period == self.period)

    @torch.no_grad()
    def end_epoch(self) -> None:
        if self.period is None:
            self._end_period(torch.ones_like(self.steps_in_period, dtype=torch.bool))

    def _end_period(self, over: torch.Tensor) -> None:
        """Take the averages if the period is over, of shape `()`: on the device, which is not waited for."""
        found = over & (self.steps > 0)
        averages = self.loss_sums / self.steps
        is_ratio = found & self.has_average & (self.averages.abs() >= SMALLEST_SIZE)
        self.ratios.copy_(torch.where(is_ratio, averages / self.averages, self.ratios))
        self.averages.copy_(torch.where(found, averages, self.averages))
        self.has_average |= found
        for each in (self.loss_sums, self.steps, self.steps_in_period):
            each.masked_fill_(over, 0)
