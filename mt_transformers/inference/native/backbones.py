"""How far the backbones of several fine-tuned models are from each other."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ...modeling.backbone_difference import largest_relative_difference

__all__ = ["describe_differences"]


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
