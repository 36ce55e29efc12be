"""Labels that are one number a row: read, and held against the range that they may have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from .rows import LabelSource

__all__ = ["read_numbers"]


def read_numbers(
    values: Sequence[Any],
    source: LabelSource,
    rows: Sequence[int],
    minimum: float = -math.inf,
    maximum: float = math.inf,
) -> list[float]:
    """
    Read the values of a column of numbers.

    Args:
        values (`Sequence[Any]`): Its values; None and NaN where a row has no label.
        source ([`LabelSource`]): Where they come from.
        rows (`Sequence[int]`): The row of each value.
        minimum (`float`, *optional*): The least that a number may be.
        maximum (`float`, *optional*): The most that a number may be.

    Returns:
        `list[float]`: The numbers, NaN where there is none.

    Raises:
        InputError: If the column does not hold numbers, or one is infinite or out of range, naming task, column, row
            and value.

    Example:
        >>> from datasets import Value
        >>> read_numbers([1, None, 2.5], LabelSource("stsb", "score", Value("float32"), list), range(3), maximum=5.0)
        [1.0, nan, 2.5]
    """
    import datasets

    feature = source.feature
    if not isinstance(feature, datasets.Value) or not feature.dtype.startswith(("float", "int", "uint")):
        raise InputError(f"{source.where}: expected a number a row, found {feature}.")
    numbers = [math.nan if value is None else float(value) for value in values]
    for row, number in zip(rows, numbers, strict=True):
        if math.isinf(number) or number < minimum or number > maximum:
            raise InputError(f"{source.where}, row {row}: expected {_range(minimum, maximum)}, found {number:g}.")
    return numbers


def _range(minimum: float, maximum: float) -> str:
    """A range, as messages say it."""
    if math.isinf(minimum) and math.isinf(maximum):
        return "a finite number"
    low = f" from {minimum:g}" if math.isfinite(minimum) else ""
    high = f" up to {maximum:g}" if math.isfinite(maximum) else " up"
    return f"a finite number{low}{high}"
