"""Weighted sums of losses, with weights that do not depend on the losses of the step."""

from __future__ import annotations

from abc import abstractmethod

import torch

from .base import LossWeighting

__all__ = ["SMALLEST_SIZE", "LinearWeighting", "weights_for_sizes"]

SMALLEST_SIZE = 1e-8
"""Of a loss that others are measured by; to divide by less would let a single step run away."""


class LinearWeighting(LossWeighting):
    """Base class of the methods whose scalar is `sum(weight * loss)` with weights that are known before the step."""

    @abstractmethod
    def find_weights(self, present: torch.Tensor) -> torch.Tensor:
        """
        Find the weights of the step.

        Args:
            present (`torch.BoolTensor` of shape `(num_heads,)`): Which heads are in the step.

        Returns:
            `torch.Tensor` of shape `(num_heads,)`: The weights, without a gradient; entries of absent heads are of no
            account.
        """

    def forward(self, losses: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        return torch.where(present, self.find_weights(present) * losses, 0.0).sum()


def weights_for_sizes(sizes: torch.Tensor) -> torch.Tensor:
    """
    Find the weights that bring losses of these sizes to 1.

    A size below `SMALLEST_SIZE` is none to divide by, nor is the NaN of a mean over nothing: the weight of such a head
    is 1.

    Args:
        sizes (`torch.Tensor` of shape `(num_heads,)`): How large the losses are.

    Returns:
        `torch.Tensor` of shape `(num_heads,)`: The weights, above 0.

    Example:
        >>> weights_for_sizes(torch.tensor([4.0, 0.5, 0.0, torch.nan]))
        tensor([0.2500, 2.0000, 1.0000, 1.0000])
    """
    return torch.where(sizes >= SMALLEST_SIZE, 1 / sizes, 1.0)
