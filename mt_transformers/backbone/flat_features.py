"""How many numbers a row of features is."""

from __future__ import annotations

import math

import torch

from ..errors import InputError

__all__ = ["num_flat_features"]


def num_flat_features(x: torch.Tensor) -> int:
    """
    Count the elements of one row: what a linear layer over flattened features is wide.

    Source: `num_flat_features` in `backbone/__init__.py` of https://github.com/aimagelab/mammoth.

    Args:
        x (`torch.Tensor` of shape `(rows, ...)`): The features.

    Returns:
        `int`: The product of all dimensions but the first; 1 if there is no other.

    Raises:
        InputError: If the tensor has no dimension.

    Example:
        >>> num_flat_features(torch.zeros(5, 3, 4))
        12
    """
    if x.dim() == 0:
        raise InputError("num_flat_features: expected a tensor of shape (rows, ...), found a single number.")
    return math.prod(x.shape[1:])
