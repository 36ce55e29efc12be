"""Strategies against forgetting, one a file."""

from __future__ import annotations

from .base import Aspect, Strategy
from .combination import Combination
from .registry import STRATEGIES, make_strategy

__all__ = ["STRATEGIES", "Aspect", "Combination", "Strategy", "make_strategy"]
