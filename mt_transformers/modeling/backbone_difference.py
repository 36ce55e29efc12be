"""How far the weights of two backbones of one kind are apart."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch

from ..backbone import Backbone

__all__ = ["find_difference", "largest_relative_difference"]


@torch.no_grad()
def find_difference(own: Backbone, other: Backbone, read: Collection[str]) -> str | None:
    """
    Say where two backbones differ most, in what is read of them.

    Args:
        own ([`Backbone`]): A backbone.
        other ([`Backbone`]): The one that it is compared with.
        read (`Collection[str]`): Names of the outputs that are read, such as `encoded_text`.

    Returns:
        `str`: A parameter or buffer, and by how much it differs: the norm of the difference, as a share of the
        other's norm. None if all are alike.

    Example:
        >>> from transformers import BertConfig
        >>> sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}
        >>> own, other = (Backbone.from_config(BertConfig(**sizes)) for _ in range(2))
        >>> find_difference(own, own, ["encoded_text"]) is None
        True
        >>> _ = other.load_state_dict(own.state_dict())
        >>> other.model.encoder.layer[0].attention.self.query.weight.data *= 2
        >>> find_difference(own, other, ["encoded_text"])
        'encoder.layer.0.attention.self.query.weight by 0.5 of its norm'
    """
    unread = own.unread(read) | other.unread(read)
    ours, theirs = (
        {name: value for name, value in each.model.state_dict().items() if name not in unread} for each in (own, other)
    )
    for name in [*ours, *theirs]:
        if name not in ours or name not in theirs or ours[name].shape != theirs[name].shape:
            return f"{name} in its shape"
    largest, where = largest_relative_difference(theirs, ours)
    return f"{where} by {largest:.2g} of its norm" if where else None


@torch.no_grad()
def largest_relative_difference(
    weights: Mapping[str, torch.Tensor], others: Mapping[str, torch.Tensor]
) -> tuple[float, str]:
    """
    Find the weight that differs most between two models: |others - weights| / |weights|, in the norm of Frobenius.

    Weights in 16 bits are compared with others as rounded to these.

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
        coarse = max(weight.dtype, other.dtype, key=lambda dtype: torch.finfo(dtype).eps)
        weight, other = weight.to(coarse).float(), other.to(weight.device, coarse).float()
        distance, size = float((other - weight).norm()), float(weight.norm())
        difference = distance / size if size > 0 else math.inf if distance > 0 else 0.0
        if difference > largest:
            largest, where = difference, name
    return largest, where
