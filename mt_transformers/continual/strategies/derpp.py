"""Dark Experience Replay, and with labels: what the model once answered is kept and held on to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from ..learner import Batch, Learner
from .der import Der
from .option_checks import check_weight

__all__ = ["DerPP"]


@dataclass(kw_only=True)
class DerPP(Der):
    """
    Dark Experience Replay++ (DER++): as [`Der`], and beside that the heads' own loss, times `beta`, of further rows
    out of the buffer.

    Source: Buzzega et al. (2020), "Dark Experience for General Continual Learning", https://arxiv.org/abs/2004.07211,
    eq. 6; the second rows are drawn anew, as in algorithm 2.

    Args:
        alpha (`float`, *optional*, defaults to 0.5): Weight of the distance of logits, see [`Der`].
        beta (`float`, *optional*, defaults to 0.5): Weight of the loss of rows out of the buffer.
        buffer_size, ratio, sampling, replay_batch_size, seed: See [`Rehearsal`].

    Raises:
        InputError: If a weight is below 0.

    Example:
        >>> DerPP(beta=1.0).options()["beta"]
        1.0
    """

    name: ClassVar[str] = "derpp"

    beta: float = 0.5
    _labelled: list[Batch | None] = field(default_factory=list, init=False, repr=False, compare=False)
    _divisors: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weight("beta", self.beta)

    def rehearse(self, learner: Learner, batches: Sequence[Batch]) -> list[Batch]:
        super().rehearse(learner, batches)
        self._labelled = [self.collate(learner, own) if own else None for own in self.draw(learner, batches).own]
        self._divisors = learner.divisors([batch for batch in self._labelled if batch is not None])
        return []

    def added_loss(self, learner: Learner, inputs: Batch, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        loss, batch = super().added_loss(learner, inputs, outputs), self._labelled.pop(0)
        if batch is None:
            return loss
        labelled: torch.Tensor = self.beta * learner.forward(batch, num_items_in_batch=self._divisors)["loss"]
        return labelled if loss is None else labelled + loss
