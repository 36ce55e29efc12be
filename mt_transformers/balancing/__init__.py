"""How several losses, or several gradients, become one step."""

from __future__ import annotations

from .aggregations import CoordinateAggregation, GradientAggregation, GramianAggregation
from .conflict_plot import draw_conflicts
from .conflicts import ConflictRecord, ConflictReport
from .gradient_rows import GradientRows
from .registry import make_balancing
from .weightings import LossWeighting

__all__ = [
    "ConflictRecord",
    "ConflictReport",
    "CoordinateAggregation",
    "GradientAggregation",
    "GradientRows",
    "GramianAggregation",
    "LossWeighting",
    "draw_conflicts",
    "make_balancing",
]
