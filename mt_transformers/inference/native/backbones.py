"""How far the backbones of several fine-tuned models are from each other."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

__all__ = ["describe_differences", "largest_relative_difference"]


def largest_relative_difference(
    weights: Mapping[str, torch.Tensor], others: Mapping[str, torch.Tensor]
) -> tuple[float, str]:
    """
    Find the weight that differs most between two models: |others - weights| / |weights|, in the norm of Frobenius.

    Args:
        weights (`Mapping[str, torch.Tensor]`): Weights of one model.
        others (`Mapping[str, torch.Tensor]`): Weights of the other; those without a counterpart do not count.

    Returns:
        `tuple[float, str]`: The difference (fraction) and the weight's name; 0 and no name if none differs.

    Example:
        >>> largest_relative_difference({"a": torch.ones(4)}, {"a": torch.tensor([1.0, 1.0, 1.0, 2.0])})
        (0.5, 'a')
    """
    largest, where = 0.0, ""
    for name, weight in weights.items():
        other = others.get(name)
        if other is None or other.shape != weight.shape or not weight.is_floating_point():
            continue
        weight, other = weight.float(), other.to(weight.device).float()
        distance, size = float((other - weight).norm()), float(weight.norm())
        difference = distance / size if size > 0 else math.inf if distance > 0 else 0.0
        if difference > largest:
            largest, where = difference, name
    return largest, where


def describe_differences(
    weights: Mapping[str, torch.Tensor],
    others: Mapping[str, torch.Tensor],
    vocabulary: Mapping[str, int] | None,
    other_vocabulary: Mapping[str, int] | None,
) -> str | None:
    """
    Say how two backbones of one family differ.

    Args:
        weights (`Mapping[str, torch.Tensor]`): Weights of the one.
        others (`Mapping[str, torch.Tensor]`): Weights of the other.
        vocabulary (`Mapping[str, int]`, *optional*): Tokens and ids of the one's tokenizer, where there is one.
        other_vocabulary (`Mapping[str, int]`, *optional*): Those of the other's.

    Returns:
        `str`: What differs, None if nothing does.

    Example:
        >>> describe_differences({"a": torch.ones(4)}, {"a": torch.zeros(4)}, {"[UNK]": 0}, {"[UNK]": 1})
        'a by 100%, the vocabulary of the tokenizer'
    """
    found = []
    difference, where = largest_relative_difference(weights, others)
    if difference > 0:
        found.append(
            f"{where} by {difference:.2g} of its norm" if difference < 0.01 else f"{where} by {difference:.0%}"
        )
    shapes, other_shapes = ({name: value.shape for name, value in each.items()} for each in (weights, others))
    unlike = [name for name in {**shapes, **other_shapes} if shapes.get(name) != other_shapes.get(name)]
    if unlike:
        found.append(f"the shapes of {len(unlike)} weights, such as {unlike[0]}")
    if vocabulary is not None and other_vocabulary is not None and vocabulary != other_vocabulary:
        found.append("the vocabulary of the tokenizer")
    return ", ".join(found) or None
