"""Learning without Forgetting: what the model answered before an experience is held on to, on the new rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch.nn import functional

from ...data import TASK_INDEX
from ...errors import InputError
from ...heads import (
    HeadConfig,
    SequenceClassificationHeadConfig,
    TokenClassificationHeadConfig,
)
from ...heads.base import full_precision
from ...modeling import MultiTaskModel
from ..learner import Batch, Learner
from ..scenario import Scenario
from .base import Strategy
from .option_checks import check_weight
from .teacher import ask, frozen_copy, without_labels

__all__ = ["LwF", "distillation_losses"]


@dataclass(kw_only=True)
class LwF(Strategy):
    """
    Learning without Forgetting (LwF): on an experience's own rows each head that was there before shall go on
    answering as the model did when the experience began, and the classes that a head had then shall keep their shares.

    Added to the loss is, for each such head, the cross-entropy between the softened answers of then and of now, a mean
    over the optimizer step's rows, or tokens for heads that classify these; where a row may have several labels, each
    of them is a choice of two. Where the paper first trains the new head alone, all is trained at once. Between
    experiences nothing is kept; within one there is a copy of the model, which answers every row once more, and where
    the rows train other heads than those of before the model does so too.

    Source: Li and Hoiem (2016), "Learning without Forgetting", https://arxiv.org/abs/1606.09282, section 3, eq. 2 and
    3, figure 3. Defaults are the paper's.

    Args:
        alpha (`float`, *optional*, defaults to 1.0): Weight of what is added, the paper's lambda_o.
        temperature (`float`, *optional*, defaults to 2.0): What logits are divided by on both sides.

    Raises:
        InputError: If the weight is below 0 or the temperature not above 0.

    Example:
        >>> LwF(alpha=0.5).options()
        {'name': 'lwf', 'alpha': 0.5, 'temperature': 2.0}
    """

    name: ClassVar[str] = "lwf"

    alpha: float = 1.0
    temperature: float = 2.0
    _teacher: MultiTaskModel | None = field(default=None, init=False, repr=False, compare=False)
    # head -> classes that the teacher knows
    _known: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    # for each micro-batch whether a row is one, (batch_size,)
    _is_row: list[torch.Tensor] = field(default_factory=list, init=False, repr=False, compare=False)
    # rows and tokens of the step, on all processes
    _counts: torch.Tensor = field(default_factory=lambda: torch.ones(2), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_weight("alpha", self.alpha)
        check_weight("temperature", self.temperature)
        if self.temperature == 0:
            raise InputError("temperature: expected a number above 0, found 0.")

    def check(self, scenario: Scenario) -> None:
        # heads of the last experience are never old ones
        for name, config in scenario.heads_after(len(scenario.experiences) - 2).items():
            if not _has_shares(config):
                raise InputError(
                    f"strategy {self.name!r}: expected heads that classify rows, or words without a crf, found head "
                    f"{name!r} of type {config.head_type}."
                )

    def begin(self, learner: Learner) -> None:
        self._teacher, self._known = None, {}
        if learner.number > 0:
            before, scenario = learner.number - 1, learner.scenario
            self._teacher = frozen_copy(learner.model)
            self._known = {name: scenario.classes_after(name, before) for name in scenario.heads_after(before)}

    def rehearse(self, learner: Learner, batches: Sequence[Batch]) -> list[Batch]:
        if self._teacher is not None:
            self._is_row = [batch[TASK_INDEX] >= 0 for batch in batches]
            counts = torch.zeros(2, device=learner.args.device)
            for batch, is_row in zip(batches, self._is_row, strict=True):
                counts[0] += is_row.sum()
                if "attention_mask" in batch:
                    counts[1] += _is_token(batch, is_row).sum()
            self._counts = learner.over_processes(counts).clamp(min=1)
        return []

    def added_loss(self, learner: Learner, inputs: Batch, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        if self._teacher is None:
            return None
        is_row = self._is_row.pop(0)
        taught = ask(learner, self._teacher, inputs, self._known)
        answered = outputs
        if any(len(outputs.get(f"{head}_logits", ())) != len(is_row) for head in self._known):
            answered = learner.forward(without_labels(inputs), heads=self._known)
        losses = []
        for head, known in self._known.items():
            config = learner.model.named_heads[head].config
            now, then = (full_precision(each[f"{head}_logits"])[..., :known] for each in (answered, taught))
            of_items = distillation_losses(now, then, self.temperature, multi_label=_is_multi_label(config))
            of_tokens = of_items.dim() == 2
            counted = _is_token(inputs, is_row) if of_tokens else is_row
            losses.append(torch.where(counted, of_items, 0.0).sum() / self._counts[int(of_tokens)])
        return self.alpha * torch.stack(losses).sum()

    def end(self, learner: Learner) -> None:
        self._teacher = None


def distillation_losses(
    now: torch.Tensor, then: torch.Tensor, temperature: float, *, multi_label: bool = False
) -> torch.Tensor:
    """
    Cross-entropy between softened answers.

    Source: Li and Hoiem (2016), eq. 2 and 3; Hinton et al. (2015), section 2, without its factor of temperature².

    Args:
        now (`torch.Tensor` of shape `(..., num_labels)`): Logits that learn.
        then (`torch.Tensor` of shape `(..., num_labels)`): Logits to hold on to.
        temperature (`float`): What both are divided by.
        multi_label (`bool`, *optional*, defaults to `False`): Whether each logit is a choice of its own.

    Returns:
        `torch.Tensor` of shape `(...)`.

    Example:
        >>> distillation_losses(torch.zeros(1, 2), torch.tensor([[0.0, 3.0]]), temperature=2.0)
        tensor([0.6931])
    """
    if multi_label:
        targets = (then / temperature).sigmoid()
        return functional.binary_cross_entropy_with_logits(now / temperature, targets, reduction="none").sum(dim=-1)
    return -((then / temperature).softmax(dim=-1) * (now / temperature).log_softmax(dim=-1)).sum(dim=-1)


def _is_token(inputs: Batch, is_row: torch.Tensor) -> torch.Tensor:
    # further sequences of the rows are behind their first ones
    mask: torch.Tensor = inputs["attention_mask"][: len(is_row)]
    return (mask > 0) & is_row.unsqueeze(1)


def _is_multi_label(config: HeadConfig) -> bool:
    return isinstance(config, SequenceClassificationHeadConfig) and config.multi_label


def _has_shares(config: HeadConfig) -> bool:
    """Whether a head's logits say which share each class has, of a row or of a token."""
    if isinstance(config, TokenClassificationHeadConfig):
        return not config.crf
    return isinstance(config, SequenceClassificationHeadConfig)
