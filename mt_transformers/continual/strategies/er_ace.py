"""Experience replay with an asymmetric cross-entropy: new rows do not push the classes of earlier ones away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch.nn import functional

from ...errors import InputError
from ...heads import IGNORED, ClassHeadConfig, SequenceClassificationHeadConfig
from ...heads.base import full_precision
from ...routing import take_rows
from ..learner import Batch, Learner
from ..scenario import Scenario
from .base import Aspect
from .rehearsal import Rehearsal
from .teacher import has_one_class_a_row

__all__ = ["ErAce", "cross_entropy_among"]


@dataclass(kw_only=True)
class ErAce(Rehearsal):
    """
    Experience replay with asymmetric cross-entropy (ER-ACE): the experience's own rows are told apart only from the
    classes that the step's own rows have, so that they do not push earlier classes away; rows out of a buffer are told
    apart from all classes. The two means are added up.

    The classes are those of the whole optimizer step, over all micro-batches and processes. In the first experience,
    where there is nothing to push away, all classes count, as in the authors' code.

    Source: Caccia et al. (2022), "New Insights on Reducing Abrupt Representation Change in Online Continual Learning",
    https://arxiv.org/abs/2104.05025, section 4 (`L_ace`), algorithm 1.

    Args:
        buffer_size, ratio, sampling, replay_batch_size, seed: See [`Rehearsal`].

    Example:
        >>> ErAce(buffer_size=500).options()["buffer_size"]
        500
    """

    name: ClassVar[str] = "er_ace"
    decides: ClassVar[frozenset[Aspect]] = frozenset({"row_losses"})

    # head -> whether a class is one of the step's own rows, (num_labels,)
    _present: dict[str, torch.Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    _labelled: list[Batch | None] = field(default_factory=list, init=False, repr=False, compare=False)
    _divisors: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def check(self, scenario: Scenario) -> None:
        super().check(scenario)
        for name, config in scenario.heads.items():
            if not has_one_class_a_row(config):
                raise InputError(
                    f"strategy {self.name!r}: expected heads that choose one class for each row, found head {name!r} "
                    f"of type {config.head_type}."
                )

    def rehearse(self, learner: Learner, batches: Sequence[Batch]) -> list[Batch]:
        self._present = _classes_present(learner, batches)
        self._labelled = [self.collate(learner, own) if own else None for own in self.draw(learner, batches).own]
        self._divisors = learner.divisors([batch for batch in self._labelled if batch is not None])
        return []

    def row_losses(
        self, learner: Learner, head: str, inputs: Batch, outputs: Mapping[str, torch.Tensor], *, rehearsed: bool
    ) -> torch.Tensor | None:
        if rehearsed or learner.number == 0:
            return None
        all_labels = inputs["labels"][head]
        labels = take_rows(all_labels, outputs.get(f"{head}_rows"), len(all_labels))
        logits, module = full_precision(outputs[f"{head}_logits"]), learner.model.named_heads[head]
        config = cast(SequenceClassificationHeadConfig, module.config)
        weights = config.class_weights
        return cross_entropy_among(
            logits,
            labels,
            self._present[head],
            weights=module.constant(weights, logits) if isinstance(weights, list) else None,
            label_smoothing=config.label_smoothing,
        )

    def added_loss(self, learner: Learner, inputs: Batch, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        batch = self._labelled.pop(0)
        if batch is None:
            return None
        loss: torch.Tensor = learner.forward(batch, num_items_in_batch=self._divisors)["loss"]
        return loss


def cross_entropy_among(
    logits: torch.Tensor,
    labels: torch.Tensor,
    present: torch.Tensor,
    *,
    weights: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """
    Cross-entropy as if a head had some of its classes only.

    Args:
        logits (`torch.Tensor` of shape `(rows, num_labels)`): The logits.
        labels (`torch.Tensor` of shape `(rows,)`): Classes, all of them present; -100 where there is none.
        present (`torch.Tensor` of shape `(num_labels,)`): Whether a class is one of them.
        weights (`torch.Tensor` of shape `(num_labels,)`, *optional*): Weight of each class.
        label_smoothing (`float`, *optional*, defaults to 0.0): Fraction that is spread over the present classes.

    Returns:
        `torch.Tensor` of shape `(rows,)`: 0 for rows without a label.

    Example:
        >>> logits, present = torch.tensor([[0.0, 9.0, 0.0]]), torch.tensor([True, False, True])
        >>> cross_entropy_among(logits, torch.tensor([0]), present)
        tensor([0.6931])
    """
    # not minus infinity: a batch without a label may have no class at all
    masked = logits.masked_fill(~present, torch.finfo(logits.dtype).min)
    log_probabilities = masked.log_softmax(dim=-1).masked_fill(~present, 0.0)
    chosen = functional.one_hot(labels.clamp(min=0), logits.shape[-1]).to(logits)
    shares = present.to(logits) / present.sum().clamp(min=1)
    targets = (1 - label_smoothing) * chosen + label_smoothing * shares
    if weights is not None:
        targets = targets * weights
    return torch.where(labels == IGNORED, 0.0, -(targets * log_probabilities).sum(dim=-1))


def _classes_present(learner: Learner, batches: Sequence[Batch]) -> dict[str, torch.Tensor]:
    """For each head whether a class is one of the batches' rows, on any process; the device is not waited for."""
    heads = learner.model.named_heads.items()
    sizes = {name: len(cast(ClassHeadConfig, head.config).names) for name, head in heads}
    starts = dict(zip(sizes, torch.tensor([0, *sizes.values()]).cumsum(0).tolist(), strict=False))
    # the last place takes the rows without a label
    counts = torch.zeros(sum(sizes.values()) + 1, device=learner.args.device)
    for batch in batches:
        for name, labels in batch["labels"].items():
            counts[torch.where(labels == IGNORED, -1, labels + starts[name])] = 1
    found = learner.over_processes(counts) > 0
    return {name: found[starts[name] : starts[name] + size] for name, size in sizes.items()}
