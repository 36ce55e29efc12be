"""Penalty-based boundary intersection: how far the losses are along a preferred direction, and from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch

from ..option_checks import check_from_zero
from .base import LossWeighting
from .preferences import read_preferences

__all__ = ["PenaltyBoundaryIntersection"]

_EPSILON = 1e-12


class PenaltyBoundaryIntersection(LossWeighting):
    """
    Penalty-based boundary intersection (PBI): the length of the losses along the direction of the preferences, and
    `theta` times their distance from it.

    Losses with the proportions of the preferences have no distance. The weight of a head whose loss is too small for
    these proportions can be below 0, so that its loss is driven up: for heads whose losses differ in size give
    preferences in the proportions that are wanted, or a small `theta`. With `m` equal preferences no weight is below 0
    for a `theta` up to `1 / sqrt(m - 1)`. An absent head has no coordinate, in the losses nor in the direction. The
    ideal point is 0.

    Source: Zhang and Li (2007), "MOEA/D", https://doi.org/10.1109/TEVC.2007.892759, section II.C, with their theta.
    1e-12 below the root of the distance keeps its gradient finite where it is 0, as in TorchJD.

    Args:
        heads (`Sequence[str]`): Names of the heads.
        theta (`float`, *optional*, defaults to 5.0): Weight of the distance.
        preferences (`dict[str, float]`, *optional*):
            Head -> its preference, 1 where none is given. Only their proportions count.

    Raises:
        InputError: If `theta` is below 0, a head is unknown or a preference is not above 0.

    Example:
        >>> method = PenaltyBoundaryIntersection(["intent", "slots"], theta=0.5)
        >>> method.weigh(torch.tensor([2.0, 1.0]), torch.tensor([True, True]))
        tensor([1.0607, 0.3536])
    """

    name: ClassVar[str] = "pbi"
    needs_losses: ClassVar[bool] = True

    preferences: torch.Tensor

    def __init__(
        self, heads: Sequence[str], *, theta: float = 5.0, preferences: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(heads)
        check_from_zero("theta", theta)
        self.theta = theta
        # an option and no memory: a resumed run has those of its recipe
        self.register_buffer("preferences", read_preferences(preferences, self.heads), persistent=False)

    def forward(self, losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        # (num_heads,)
        losses, direction = (torch.where(present, each, 0.0) for each in (losses, self.preferences))
        direction = direction / direction.square().sum().sqrt()
        along = (losses * direction).sum()
        distance = torch.sqrt((losses - along * direction).square().sum() + _EPSILON)
        return along + self.theta * distance
