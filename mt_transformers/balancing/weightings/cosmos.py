"""COSMOS: a weighted sum, with a reward for losses in the proportions of the preferences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch.nn.functional import cosine_similarity

from ..option_checks import check_from_zero
from .base import LossWeighting
from .preferences import read_preferences

__all__ = ["Cosmos"]


class Cosmos(LossWeighting):
    """
    COSMOS: `sum(r * loss) - penalty * cos(r, losses)`, where `r` are the preferences, scaled to sum to 1.

    The weight of a head whose loss is too small for these proportions can be below 0, so that its loss is driven up,
    the more so the smaller all losses are: then a smaller penalty is called for. An absent head has no coordinate, in
    the losses nor in `r`. Of the paper it is the objective alone: `r` stays the same, and the model is not told of it.

    Source: Ruchte and Grabocka (2021), "Scalable Pareto Front Approximation for Deep Multi-Objective Learning",
    https://arxiv.org/abs/2103.13392, section 3. The penalty is that of the authors' code for Multi-MNIST,
    https://github.com/ruchtem/cosmos; they have from 0.01 to 8 for other data.

    Args:
        heads (`Sequence[str]`): Names of the heads.
        penalty (`float`, *optional*, defaults to 2.0): Weight of the cosine, there lambda.
        preferences (`dict[str, float]`, *optional*):
            Head -> its preference, 1 where none is given. Only their proportions count.

    Raises:
        InputError: If the penalty is below 0, a head is unknown or a preference is not above 0.

    Example:
        >>> method = Cosmos(["intent", "slots"], penalty=0.5, preferences={"intent": 3})
        >>> method.weigh(torch.tensor([2.0, 1.0]), torch.tensor([True, True]))
        tensor([0.7359, 0.2783])
    """

    name: ClassVar[str] = "cosmos"
    needs_losses: ClassVar[bool] = True

    preferences: torch.Tensor

    def __init__(
        self, heads: Sequence[str], *, penalty: float = 2.0, preferences: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(heads)
        check_from_zero("penalty", penalty)
        self.penalty = penalty
        # an option and no memory: a resumed run has those of its recipe
        self.register_buffer("preferences", read_preferences(preferences, self.heads), persistent=False)

    def forward(self, losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        # (num_heads,)
        losses, preferences = (torch.where(present, each, 0.0) for each in (losses, self.preferences))
        preferences = preferences / preferences.sum()
        return (preferences * losses).sum() - self.penalty * cosine_similarity(preferences, losses, dim=0)
