"""What a method of balancing does within an optimizer step of the trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..balancing import ConflictReport

__all__ = ["Balancer", "Forward", "weighted_losses"]

Forward = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, torch.Tensor]]
"""Runs the model on a micro-batch under the step's items."""


class Balancer:
    """
    What the trainer asks in every optimizer step; this one changes nothing: the losses of all heads are summed.

    The calls of a step are [`begin_step`], for each micro-batch [`step`] and in it [`revise`], then [`end_backward`]
    and, once the weights have changed, [`end_step`].
    """

    report: ConflictReport | None = None
    """How gradients agree, where they are compared."""

    def modules(self) -> list[nn.Module]:
        """Modules with parameters that are to be trained beside the model's."""
        return []

    def begin_step(
        self, batches: Sequence[Mapping[str, Any]], items: Mapping[str, Any], present: torch.Tensor
    ) -> None:
        """
        An optimizer step begins.

        Args:
            batches (`Sequence[Mapping[str, Any]]`): The micro-batches of this process.
            items (`Mapping[str, Any]`): For each head of these batches what its summed loss is divided by.
            present (`torch.BoolTensor` of shape `(num_heads,)`): Heads with a labelled row on any process.
        """

    def step(self, inputs: dict[str, Any], train: Callable[[dict[str, Any]], torch.Tensor]) -> torch.Tensor:
        """
        Train on a micro-batch.

        Args:
            inputs (`dict[str, Any]`): The micro-batch.
            train (`Callable`): Runs forward and backward pass on a batch and returns its loss.

        Returns:
            `torch.Tensor` of shape `()`: The loss, without a gradient.
        """
        return train(inputs)

    def revise(self, loss: torch.Tensor, outputs: Mapping[str, Any]) -> torch.Tensor:
        """
        Choose the loss whose gradient is taken.

        Args:
            loss (`torch.Tensor` of shape `()`): The sum over all heads.
            outputs (`Mapping[str, Any]`): What the model answered to a micro-batch.

        Returns:
            `torch.Tensor` of shape `()`: The loss.
        """
        return loss

    def end_backward(self) -> None:
        """All gradients of the step are there, those of the heads also of all processes."""

    def end_step(self) -> None:
        """The weights have changed."""

    def end_epoch(self) -> None:
        """An epoch is over."""

    def read(self, step: int) -> dict[str, float]:
        """
        Read what goes into the log.

        Args:
            step (`int`): Number of the last optimizer step.

        Returns:
            `dict[str, float]`: Numbers since the last call: `conflicts`, the share of pairs of tasks whose gradients
            have an inner product below 0, where there were pairs.
        """
        record = None if self.report is None else self.report.record(step)
        return {} if record is None or record.conflicts is None else {"conflicts": record.conflicts}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What a resumed run needs."""
        return {}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what [`state_dict`] gave."""


def weighted_losses(outputs: Mapping[str, Any], loss_weights: Mapping[str, float]) -> dict[str, torch.Tensor]:
    """
    Find what a micro-batch adds to the loss of each head that has rows in it.

    Args:
        outputs (`Mapping[str, Any]`): What the model answered to it.
        loss_weights (`Mapping[str, float]`): What each head's loss is multiplied by, 1 where none is given.

    Returns:
        `dict[str, torch.Tensor]`: The losses, with their graph.
    """
    names = [key.removesuffix("_row_losses") for key in outputs if key.endswith("_row_losses")]
    return {name: outputs[f"{name}_loss"] * loss_weights.get(name, 1.0) for name in names}
