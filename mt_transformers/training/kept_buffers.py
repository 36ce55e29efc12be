"""Buffers that a forward pass in training changes, kept as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["kept_buffers"]


@contextmanager
def kept_buffers(model: nn.Module) -> Iterator[None]:
    """
    Leave the buffers of a model as they are, such as the running means of batch normalization.

    A backward pass through what ran within has to be within, too.

    Args:
        model (`nn.Module`): The model.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> with kept_buffers(norm):
        ...     _ = norm(torch.tensor([[1.0], [3.0]]))
        >>> norm.running_mean, norm.num_batches_tracked
        (tensor([0.]), tensor(0))
    """
    buffers = [(each, each.clone()) for each in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for each, before in buffers:
                each.copy_(before)
