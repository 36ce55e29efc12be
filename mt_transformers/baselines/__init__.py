"""Whether training tasks together helps: the same recipe one task at a time, and jointly."""

from __future__ import annotations

from .affinity import measure_affinity
from .compare_recipe import run_baselines
from .comparison import Comparison, mean_relative_change
from .costs import Cost
from .plot import draw_report
from .report import BaselineReport
from .run_result import RunResult, train_run
from .runs import BaselineRun
from .saving import save_report
from .tables import markdown_report, warnings_of

__all__ = [
    "BaselineReport",
    "BaselineRun",
    "Comparison",
    "Cost",
    "RunResult",
    "draw_report",
    "markdown_report",
    "mean_relative_change",
    "measure_affinity",
    "run_baselines",
    "save_report",
    "train_run",
    "warnings_of",
]
