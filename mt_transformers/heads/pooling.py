"""From encoded tokens to one vector a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import nn

from ..errors import InputError
from .backbone_info import BackboneInfo
from .config import HeadConfig
from .masked_mean import masked_mean

__all__ = ["PooledHeadConfig", "Pooling", "PoolingMode", "check_pooling"]

PoolingMode = Literal["auto", "cls", "mean", "max", "last", "attention", "pooled"]


def check_pooling(pooling: str) -> None:
    """Refuse a pooling that does not exist, naming those that do."""
    if pooling not in get_args(PoolingMode):
        raise InputError(f"pooling: expected one of {', '.join(get_args(PoolingMode))}, found {pooling!r}.")


@dataclass(kw_only=True)
class PooledHeadConfig(HeadConfig):
    """
    Config of a head that makes one vector of a row, or of each of its sequences.

    Args:
        pooling (`str`, *optional*, defaults to `"auto"`):
            How, see [`Pooling`]. `auto` is `last` on models that only look back, `mean` on other models of text or
            audio, and `pooled`, the backbone's own pooled features, for images.
    """

    pools: ClassVar[bool] = True

    pooling: str = "auto"

    def __post_init__(self) -> None:
        check_pooling(self.pooling)
        if isinstance(self.input, list) and self.pooling not in ("auto", "pooled"):
            raise InputError(
                f"pooling: several inputs are fused once pooled, expected 'pooled', found {self.pooling!r}."
            )
        super().__post_init__()

    @property
    def reads_pooled(self) -> bool:
        return isinstance(self.input, list) or self.pooling == "pooled"

    def resolve(self, backbone: BackboneInfo) -> None:
        super().resolve(backbone)
        if self.pooling == "auto":
            default = "pooled" if isinstance(self.input, list) else backbone.default_pooling[self.input]
            # another layer than the last has no pooled features
            self.pooling = "mean" if default == "pooled" and self.layer != -1 else default


class Pooling(nn.Module):
    """
    One vector for each row, whichever side the padding is on.

    Args:
        pooling (`str`):
            `cls` takes the first token that is not padding, `last` the last one, `mean` and `max` go over all tokens,
            `attention` weighs the tokens by a learned score (Yang et al. 2016, https://aclanthology.org/N16-1174,
            equations 5 to 7, with a linear score), `pooled` is for features that the backbone has pooled: they have
            one position.
        hidden_size (`int`): Size of the encoded features.

    Example:
        >>> left_padded = torch.tensor([[[0.0], [1.0], [2.0]]]), torch.tensor([[False, True, True]])
        >>> Pooling("cls", hidden_size=1)(*left_padded), Pooling("last", hidden_size=1)(*left_padded)
        (tensor([[1.]]), tensor([[2.]]))
    """

    def __init__(self, pooling: str, hidden_size: int) -> None:
        super().__init__()
        if pooling == "auto":
            raise ValueError("'auto' is resolved by the model's config: give the pooling that it stands for.")
        check_pooling(pooling)
        self.pooling = pooling
        self.score = nn.Linear(hidden_size, 1) if pooling == "attention" else None

    def forward(self, encoded: torch.Tensor, encoded_mask: torch.Tensor) -> torch.Tensor:
        """
        Pool.

        Args:
            encoded (`torch.Tensor` of shape `(rows, sequence_length, hidden_size)`): Output of the backbone.
            encoded_mask (`torch.Tensor` of shape `(rows, sequence_length)`): True for tokens, False for padding.

        Returns:
            `torch.Tensor` of shape `(rows, hidden_size)`.
        """
        mask = encoded_mask.bool()
        if self.pooling == "mean":
            return masked_mean(encoded, mask)
        if self.pooling == "max":
            lowest = torch.finfo(encoded.dtype).min
            return encoded.masked_fill(~mask.unsqueeze(-1), lowest).amax(dim=1)
        if self.score is not None:
            lowest = torch.finfo(encoded.dtype).min
            # (rows, sequence_length, 1)
            weights = self.score(encoded).masked_fill(~mask.unsqueeze(-1), lowest).softmax(dim=1)
            pooled: torch.Tensor = (encoded * weights).sum(dim=1)
            return pooled
        if self.pooling == "pooled":
            return encoded.squeeze(1)
        # (rows,)
        position = mask.int().argmax(dim=1)
        if self.pooling == "last":
            position = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
        return encoded[torch.arange(encoded.shape[0], device=encoded.device), position]
