"""Labels of each head, however they were handed over."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from ..errors import InputError

__all__ = ["labels_by_head"]


def labels_by_head(
    labels: torch.Tensor | Mapping[str, torch.Tensor] | None,
    heads: Collection[str],
    inputs: Mapping[str, Any],
    arg_name_mapping: Mapping[str, Mapping[str, str]],
    batch_size: int,
) -> dict[str, torch.Tensor]:
    """
    Find the labels of each head that has some, whether they came as a dict, as one tensor, or under a mapped name.

    Args:
        labels (`Mapping[str, torch.Tensor]` or `torch.Tensor`, *optional*): As the model's `forward` takes them.
        heads (`Collection[str]`): The heads that may run.
        inputs (`Mapping[str, Any]`): The other arguments of the model.
        arg_name_mapping (`Mapping[str, Mapping[str, str]]`): See [`MultiTaskConfig`].
        batch_size (`int`): Rows of the batch.

    Returns:
        `dict[str, torch.Tensor]`: For each head its labels.

    Raises:
        InputError: If one tensor is given for several heads, or the number of rows is another.

    Example:
        >>> labels_by_head(torch.tensor([1, 0]), ["intent"], {}, {}, batch_size=2)
        {'intent': tensor([1, 0])}
    """
    if isinstance(labels, torch.Tensor):
        if len(heads) != 1:
            raise InputError(
                f"labels is one tensor, but {len(heads)} heads are in play ({', '.join(heads)}): "
                "give a dict head -> tensor, or one head as heads=[...]."
            )
        labels = {next(iter(heads)): labels}
    found = {name: value for name, value in (labels or {}).items() if value is not None}
    for name, mapping in arg_name_mapping.items():
        for source, target in mapping.items():
            if target == "labels" and source in inputs and name != "backbone":
                found[name] = inputs[source]
    for name, value in found.items():
        if len(value) != batch_size:
            raise InputError(f"labels of head {name!r}: expected {batch_size} rows, found {len(value)}.")
    return found
