"""The loss of each head over an optimizer step, and their sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..configuration import LossReduction

__all__ = ["loss_divisor", "sum_losses"]


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
