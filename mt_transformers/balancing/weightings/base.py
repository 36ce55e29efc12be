"""How the losses of several heads become one: what every method of loss weighting has to say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

__all__ = ["LossWeighting"]


class LossWeighting(nn.Module, ABC):
    """
    Base class of the methods that weigh the losses of heads.

    A step's losses are a vector, one entry a head: the loss of the whole optimizer step, over all micro-batches and
    processes, times the head's `loss_weights`. Heads without a labelled item in the step are absent. An absent head
    has no part in the scalar, gets no gradient for the method's own parameters, and leaves its history as it is; each
    method says what follows from that.

    Everything that a method remembers is in its `state_dict`, as a buffer, a parameter or an extra tensor, with the
    same keys and shapes from the beginning, so that a resumed run goes on where it was. Every process calls it
    with the same losses and so remembers the same. Nothing waits for the device.

    Args:
        heads (`Sequence[str]`): Names of the heads, in the order of the entries.
    """

    name: ClassVar[str]
    """What recipes call it; also the name of its module."""
    needs_losses: ClassVar[bool] = False
    """Whether the weights of a step depend on the losses of that step, and not only on what came before."""
    looks_again: ClassVar[bool] = False
    """Whether it wants the losses of the same rows after the optimizer step, see [`~LossWeighting.compare`]."""
    learning_rate: float | None = None
    """Of its own parameters, under the training arguments' schedule; None for the training arguments' one."""

    def __init__(self, heads: Sequence[str]) -> None:
        super().__init__()
        self.heads = list(heads)

    @abstractmethod
    def forward(self, losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """
        Make one loss of several.

        Args:
            losses (`torch.Tensor` of shape `(num_heads,)`): The losses; entries of absent heads are of no account.
            present (`torch.BoolTensor` of shape `(num_heads,)`): Which heads are in the step; at least one.

        Returns:
            `torch.Tensor` of shape `()`: The scalar, differentiable in the losses and in the method's parameters.
        """

    def weigh(self, losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """
        Find what the gradient of each head's loss is multiplied by: the derivatives of the scalar.

        It is called once for an optimizer step, before [`~LossWeighting.observe`].

        Args:
            losses (`torch.Tensor` of shape `(num_heads,)`):
                The losses; any finite numbers above 0 where the method does not need them.
            present (`torch.BoolTensor` of shape `(num_heads,)`): Which heads are in the step.

        Returns:
            `torch.Tensor` of shape `(num_heads,)`: The weights, 0 for absent heads; without a gradient.
        """
        with torch.enable_grad():
            # what stands in the entries of absent heads, a 0 or a NaN, must not spoil the others
            taken = torch.where(present, losses.detach(), 1.0).requires_grad_()
            (weights,) = torch.autograd.grad(self(taken, present), taken)
        return torch.where(present, weights, 0.0)

    def observe(self, losses: torch.Tensor, present: torch.Tensor) -> None:
        """
        Take note of an optimizer step: gradients of the method's own parameters, and its history.

        Args:
            losses (`torch.Tensor` of shape `(num_heads,)`): The losses of the step, without a gradient.
            present (`torch.BoolTensor` of shape `(num_heads,)`): Which heads were in the step.
        """
        own = [each for each in self.parameters() if each.requires_grad]
        if own:
            with torch.enable_grad():
                value = self(torch.where(present, losses.detach(), 1.0), present)
                for parameter, grad in zip(own, torch.autograd.grad(value, own), strict=True):
                    parameter.grad = grad

    def compare(self, before: torch.Tensor, after: torch.Tensor, present: torch.Tensor) -> None:
        """
        Learn from what an optimizer step has done to the losses of its own rows.

        Args:
            before (`torch.Tensor` of shape `(num_heads,)`): The losses before the step.
            after (`torch.Tensor` of shape `(num_heads,)`): Those of the same rows after it.
            present (`torch.BoolTensor` of shape `(num_heads,)`): Which heads were in the step.
        """

    def end_epoch(self) -> None:
        """An epoch is over."""
