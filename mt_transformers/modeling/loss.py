"""The loss of each head over an optimizer step, and their sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..backbone import Backbone
from ..configuration import LossReduction, MultiTaskConfig
from ..heads import Head
from ..routing import Rows, take_rows
from .output import MultiTaskModelOutput

__all__ = ["LossMixin", "loss_divisor", "sum_losses"]


class LossMixin(nn.Module):
    """Adds the losses to what a model with a `backbone` and `named_heads` answers."""

    backbone: Backbone
    config: MultiTaskConfig

    @property
    def named_heads(self) -> Mapping[str, Head]:
        """The heads by name."""
        raise NotImplementedError

    def _add_losses(
        self,
        outputs: MultiTaskModelOutput,
        routed: Mapping[str, Rows],
        labels: Mapping[str, torch.Tensor],
        num_items_in_batch: Mapping[str, Any] | torch.Tensor | int | None,
        batch_size: int,
    ) -> None:
        """Add each head's loss and their weighted sum to the outputs."""
        encoded = next(outputs[name] for name in self.backbone.output_names if name in outputs)
        row_losses = {name: outputs[f"{name}_row_losses"] for name in routed if f"{name}_row_losses" in outputs}
        divisors = num_items_in_batch
        if divisors is None:
            taken = {name: take_rows(labels[name], routed[name], batch_size) for name in row_losses}
            divisors = {name: self._divisor(name, each, batch_size) for name, each in taken.items()}
        elif not isinstance(divisors, Mapping):
            divisors = dict.fromkeys(row_losses, divisors)
        losses, total = sum_losses(row_losses, divisors, self.config.loss_weights)
        for name in routed:
            if name in labels:
                outputs[f"{name}_loss"] = losses.get(name, encoded.new_zeros(()))
        # an exact zero that keeps the backbone in the graph, which distributed training relies on
        total = encoded.sum() * 0 if total is None else total
        if self.training and torch.is_grad_enabled() and not total.requires_grad:
            # all that these rows reach is frozen: the backward pass changes nothing, and every process can run it
            total = total + torch.zeros_like(total, requires_grad=True)
        outputs["loss"] = total
        outputs.move_to_end("loss", last=False)

    def _divisor(self, name: str, labels: torch.Tensor, batch_size: int) -> Any:
        items = self.named_heads[name].config.count_items(labels)
        return loss_divisor(items.sum(), (items > 0).sum(), batch_size, self.config.loss_reduction)


def loss_divisor(
    items: torch.Tensor | int, rows: torch.Tensor | int, all_rows: torch.Tensor | int, reduction: LossReduction
) -> Any:
    """
    What the sum of a head's item losses is divided by.

    Args:
        items (`torch.Tensor` or `int`): Labelled items of the head in the optimizer step.
        rows (`torch.Tensor` or `int`): Rows of the step with a label for the head.
        all_rows (`torch.Tensor` or `int`): Rows of the step.
        reduction (`str`):
            `per_head` gives the mean over the items; `per_row` that mean times the head's share of the rows.

    Returns:
        `torch.Tensor` or a number: At least 1, so that a head without items adds 0.

    Example:
        >>> loss_divisor(10, 2, 8, "per_head"), loss_divisor(10, 2, 8, "per_row")
        (10, 40.0)
    """
    divisor: Any = items
    if reduction == "per_row":
        divisor = items * all_rows / (rows.clamp(min=1) if isinstance(rows, torch.Tensor) else max(rows, 1))
    return divisor.clamp(min=1) if isinstance(divisor, torch.Tensor) else max(divisor, 1)


def sum_losses(
    row_losses: Mapping[str, torch.Tensor], divisors: Mapping[str, Any], loss_weights: Mapping[str, float]
) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
    """
    Divide the summed item losses of each head and add them up.

    Args:
        row_losses (`Mapping[str, torch.Tensor]`): For each head the item losses of its rows, shape `(rows,)`.
        divisors (`Mapping[str, Any]`): For each head a number, see [`loss_divisor`].
        loss_weights (`Mapping[str, float]`): Weight of each head's loss, 1 where none is given.

    Returns:
        `tuple[dict[str, torch.Tensor], torch.Tensor | None]`: Each head's loss before its weight, and the weighted
        sum; None if there is no head.

    Example:
        >>> losses, total = sum_losses({"a": torch.tensor([1.0, 2.0])}, {"a": 2}, {"a": 10.0})
        >>> losses["a"].item(), total.item()
        (1.5, 15.0)
    """
    losses = {name: values.sum() / divisors[name] for name, values in row_losses.items()}
    total: torch.Tensor | None = None
    for name, loss in losses.items():
        weighted = loss * loss_weights.get(name, 1.0)
        total = weighted if total is None else total + weighted
    return losses, total
