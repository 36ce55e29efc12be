"""What several runs say together that differ by their seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

__all__ = ["mean_and_deviation"]


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """
    Mean and sample standard deviation, `sqrt(sum of (x - mean)^2 / (n - 1))`.

    Args:
        values (`Sequence[float]`): A number for each seed.

    Returns:
        `tuple[float, float]`: NaN if a value is; the deviation of a single value is NaN.

    Example:
        >>> mean_and_deviation([1.0, 3.0])
        (2.0, 1.4142135623730951)
        >>> mean_and_deviation([1.0])
        (1.0, nan)
    """
    mean = fmean(values)
    return mean, math.nan if math.isnan(mean) or len(values) < 2 else stdev(values)
