"""Plain training on one experience after another: the lower bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import Strategy

__all__ = ["Naive"]


@dataclass(kw_only=True)
class Naive(Strategy):
    """
    Train on each experience as it comes, and do nothing about earlier ones: what any strategy has to beat.

    Source: McCloskey and Cohen (1989), "Catastrophic interference in connectionist networks",
    https://doi.org/10.1016/S0079-7421(08)60536-8.

    Example:
        >>> Naive().options()
        {'name': 'naive'}
    """

    name: ClassVar[str] = "naive"
