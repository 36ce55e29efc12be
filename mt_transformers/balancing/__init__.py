"""How several losses, or several gradients, become one step."""

from __future__ import annotations

from .aggregations import CoordinateAggregation, GradientAggregation, GramianAggregation
from .gradient_rows import GradientRows
from .registry import make_balancing
from .weightings import LossWeighting

__all__ = [
    "CoordinateAggregation",
    "GradientAggregation",
    "GradientRows",
    "GramianAggregation",
    "LossWeighting",
    "make_balancing",
]
