"""How the gradients of several tasks become one."""

from __future__ import annotations

from .base import CoordinateAggregation, GradientAggregation, GramianAggregation
from .registry import AGGREGATIONS, LEFT_OUT, make_aggregation

__all__ = [
    "AGGREGATIONS",
    "LEFT_OUT",
    "CoordinateAggregation",
    "GradientAggregation",
    "GramianAggregation",
    "make_aggregation",
]
