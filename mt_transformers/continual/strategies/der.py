"""Dark Experience Replay: what the model once answered is kept with the rows, and held on to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from ...errors import InputError
from ...heads.base import full_precision
from ..learner import Batch, Learner
from ..scenario import Scenario
from .option_checks import check_weight
from .rehearsal import Rehearsal
from .seen import logit_errors

__all__ = ["Der"]


@dataclass(kw_only=True)
class Der(Rehearsal):
    """
    Dark Experience Replay (DER): rows out of a buffer shall be answered as they were when they were trained on, by the
    squared distance of the logits.

    A head's term is the mean over rows of the mean over their logits, as in the authors' code (Mammoth), to which the
    published weights belong; the paper writes the sum over the logits. Logits are those of the last time that a row
    was trained on in its experience; of classes that came later see [`logit_errors`].

    Source: Buzzega et al. (2020), "Dark Experience for General Continual Learning", https://arxiv.org/abs/2004.07211,
    eq. 4 and 5, algorithm 1.

    Args:
        alpha (`float`, *optional*, defaults to 0.5): Weight of the distance.
        buffer_size, ratio, sampling, replay_batch_size, seed: See [`Rehearsal`].

    Raises:
        InputError: If the weight is below 0.

    Example:
        >>> Der(alpha=0.3).options()["alpha"]
        0.3
    """

    name: ClassVar[str] = "der"
    keeps_logits: ClassVar[bool] = True

    alpha: float = 0.5
    _own: list[list[int]] = field(default_factory=list, init=False, repr=False, compare=False)
    # head -> rows drawn for the step that have logits of it, on all processes
    _rows: Counter[str] = field(default_factory=Counter, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weight("alpha", self.alpha)

    def check(self, scenario: Scenario) -> None:
        super().check(scenario)
        for name, config in scenario.heads.items():
            if not config.returns_logits or config.multi_sequence or config.label_parts:
                raise InputError(
                    f"strategy {self.name!r}: head {name!r} of type {config.head_type} has no logits that could be "
                    "kept for a row."
                )

    def rehearse(self, learner: Learner, batches: Sequence[Batch]) -> list[Batch]:
        drawn = self.draw(learner, batches)
        self._own = drawn.own
        self._rows = Counter(head for slot in drawn.slots for head in self.buffer[slot].logits)
        return []

    def added_loss(self, learner: Learner, inputs: Batch, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        slots = self._own.pop(0)
        if not slots:
            return None
        answered = learner.forward(self.collate(learner, slots))
        losses = []
        for head in dict.fromkeys(head for slot in slots for head in self.buffer[slot].logits):
            rows = answered.get(f"{head}_rows")
            answering = slots if rows is None else [slots[row] for row in rows.tolist()]
            kept = [self.buffer[slot].logits[head] for slot in answering]
            errors = logit_errors(full_precision(answered[f"{head}_logits"]), kept)
            losses.append(errors.sum() / self._rows[head])
        return self.alpha * torch.stack(losses).sum()
