"""Tensors of many shapes as a few long ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..errors import InputError

__all__ = ["flatten", "unflatten"]


def flatten(tensors: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    Put tensors of any shapes into one row of values.

    Args:
        tensors (`Sequence[torch.Tensor]`): At least one; all of one dtype.

    Returns:
        `dict[str, torch.Tensor]`: `values`, of that dtype; `dimensions`, the number of dimensions of each tensor; and
        `sizes`, those of all dimensions of all tensors.

    Example:
        >>> flatten([torch.tensor([1, 2]), torch.tensor([[3], [4]])])
        {'values': tensor([1, 2, 3, 4]), 'dimensions': tensor([1, 2]), 'sizes': tensor([2, 2, 1])}
    """
    sizes = [size for tensor in tensors for size in tensor.shape]
    return {
        "values": torch.cat([tensor.reshape(-1) for tensor in tensors]),
        "dimensions": torch.tensor([tensor.dim() for tensor in tensors]),
        "sizes": torch.tensor(sizes, dtype=torch.long),
    }


def unflatten(flat: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """
    Take tensors out of one row of values.

    Args:
        flat (`Mapping[str, torch.Tensor]`): What [`flatten`] made of them.

    Returns:
        `list[torch.Tensor]`: The tensors; each is a copy, so that one can go without the others.

    Raises:
        InputError: If the shapes do not add up to the values.

    Example:
        >>> unflatten(flatten([torch.tensor([1, 2]), torch.tensor([[3], [4]])]))
        [tensor([1, 2]), tensor([[3],
                [4]])]
    """
    dimensions, sizes = flat["dimensions"].tolist(), flat["sizes"].tolist()
    shapes, start = [], 0
    for dimension in dimensions:
        shapes.append(torch.Size(sizes[start : start + dimension]))
        start += dimension
    counts = [shape.numel() for shape in shapes]
    if min([0, *dimensions, *sizes]) < 0 or start != len(sizes) or sum(counts) != flat["values"].numel():
        raise InputError(
            f"expected {flat['values'].numel()} values for {len(dimensions)} tensors, found shapes of {sum(counts)}."
        )
    parts = flat["values"].split(counts)
    return [part.reshape(shape).clone() for part, shape in zip(parts, shapes, strict=True)]
