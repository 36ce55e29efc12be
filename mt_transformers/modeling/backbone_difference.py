"""How far the weights of two backbones of one kind are apart."""

from __future__ import annotations

from collections.abc import Collection

import torch

from ..backbone import Backbone

__all__ = ["find_difference"]


@torch.no_grad()
def find_difference(own: Backbone, other: Backbone, read: Collection[str]) -> str | None:
    """
    Say where two backbones differ most, in what is read of them.

    Weights in 16 bits are compared with others as rounded to these.

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
    names = [name for name, value in ours.items() if value.is_floating_point()]
    if not names:
        return None
    shares = torch.stack([_share(ours[name], theirs[name].to(ours[name].device)) for name in names])
    largest = int(shares.argmax())
    return f"{names[largest]} by {float(shares[largest]):.2g} of its norm" if shares[largest] > 0 else None


def _share(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The norm of the difference as a share of the other's; one where that is all zeros."""
    coarse = max(own.dtype, other.dtype, key=lambda dtype: torch.finfo(dtype).eps)
    own, other = own.to(coarse).float(), other.to(coarse).float()
    difference, norm = torch.linalg.vector_norm(own - other), torch.linalg.vector_norm(other)
    share: torch.Tensor = difference / norm.where(norm > 0, difference)
    return share.nan_to_num(0.0).cpu()
