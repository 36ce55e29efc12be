"""Feed-forward layers between the features of a row and a head's last layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from torch import nn
from transformers.activations import ACT2FN

from ..errors import InputError
from .pooling import PooledHeadConfig

__all__ = ["FeedForwardHeadConfig", "feed_forward"]


@dataclass(kw_only=True)
class FeedForwardHeadConfig(PooledHeadConfig):
    """
    Config of a head whose last layer may have feed-forward layers before it.

    Args:
        classifier_dropout (`float`, *optional*, defaults to 0.1):
            Dropout before the last layer and before each feed-forward layer (fraction).
        hidden_sizes (`list[int]`, *optional*): Sizes of feed-forward layers between pooling and the last layer.
        hidden_act (`str`, *optional*, defaults to `"gelu"`): Activation behind each of them.
    """

    classifier_dropout: float = 0.1
    hidden_sizes: list[int] = field(default_factory=list)
    hidden_act: str = "gelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.classifier_dropout < 1:
            raise InputError(f"classifier_dropout: expected a fraction in [0, 1), found {self.classifier_dropout!r}.")
        if self.hidden_act not in ACT2FN:
            raise InputError(f"hidden_act: expected one of {', '.join(ACT2FN)}, found {self.hidden_act!r}.")


def feed_forward(sizes: Sequence[int], hidden_act: str, dropout: float) -> nn.Sequential:
    """
    Feed-forward layers, each followed by its activation and dropout.

    Args:
        sizes (`Sequence[int]`): Size of the input, then of each layer.
        hidden_act (`str`): Name of the activation, as transformers spells it.
        dropout (`float`): Dropout behind each activation (fraction).

    Returns:
        `nn.Sequential`: The layers; empty for a single size.

    Example:
        >>> len(feed_forward([8, 4], "relu", 0.1)), len(feed_forward([8], "relu", 0.1))
        (3, 0)
    """
    layers: list[nn.Module] = []
    for size, next_size in pairwise(sizes):
        layers += [nn.Linear(size, next_size), ACT2FN[hidden_act], nn.Dropout(dropout)]
    return nn.Sequential(*layers)
