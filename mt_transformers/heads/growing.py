"""Heads to which classes can be added."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import InputError
from .base import Head
from .labels import ClassHeadConfig

__all__ = ["GrowingHead", "grow_linear", "new_rows"]


class GrowingHead(Head):
    """
    A head with a last layer, `classifier`, that has a row for each class; no other weight depends on their number.

    Its config says which classes can be added, see [`ClassHeadConfig.grown`].
    """

    config: ClassHeadConfig
    classifier: nn.Linear

    def grow(self, config: ClassHeadConfig, rows: nn.Linear) -> None:
        """
        Take over further classes, behind those that there are.

        Args:
            config ([`ClassHeadConfig`]): The config with all classes, as [`ClassHeadConfig.grown`] gives it.
            rows (`nn.Linear`): A layer whose rows, one for each new class, become the last layer's.
        """
        grow_linear(self.classifier, rows)
        self.config = config


def new_rows(linear: nn.Linear, number: int) -> nn.Linear:
    """
    Make a layer whose rows can be put behind those of a linear layer, on the CPU and in the default dtype.

    Args:
        linear (`nn.Linear`): The layer.
        number (`int`): How many rows.

    Returns:
        `nn.Linear`: With random weights, and a bias if the layer has one.

    Raises:
        InputError: If the layer's weights are not plain ones: quantized, sharded or computed from others.

    Example:
        >>> new_rows(nn.Linear(4, 3, bias=False), 2)
        Linear(in_features=4, out_features=2, bias=False)
    """
    if type(linear) is not nn.Linear or type(linear.weight) is not nn.Parameter:
        raise InputError(
            "expected a last layer with plain weights, neither quantized nor sharded nor computed from others, found "
            f"{type(linear).__name__} with {type(linear.weight).__name__}."
        )
    return nn.Linear(linear.in_features, number, bias=linear.bias is not None)


def grow_linear(linear: nn.Linear, rows: nn.Linear) -> None:
    """
    Put the rows of one linear layer behind those of another.

    The rows that were there keep their values to the bit. The parameters are new ones, without gradients, on the
    device of the old ones, in their dtype, and trained if these were.

    Args:
        linear (`nn.Linear`): The layer that grows, in place.
        rows (`nn.Linear`): The new rows, see [`new_rows`].

    Example:
        >>> linear = nn.Linear(2, 1)
        >>> grow_linear(linear, nn.Linear(2, 3))
        >>> linear, linear.weight.shape
        (Linear(in_features=2, out_features=4, bias=True), torch.Size([4, 2]))
    """
    added = dict(rows.named_parameters())
    grown = {
        name: nn.Parameter(torch.cat([old.detach(), added[name].detach().to(old)]), requires_grad=old.requires_grad)
        for name, old in linear.named_parameters()
    }
    for name, parameter in grown.items():
        setattr(linear, name, parameter)
    linear.out_features += rows.out_features
