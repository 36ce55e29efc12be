"""Timing that is fair to all variants, and what is made of the times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm

__all__ = ["Measure", "alternate", "clock", "ratio"]


@dataclass(frozen=True)
class Measure:
    """
    One number of the report, with all repeats behind it.

    Args:
        section (`str`): The section that measured it.
        name (`str`): What was measured.
        values (`list[float]`): One value a repeat.
        unit (`str`): Unit of the values; `x` for ratios.
        at_most (`float`, *optional*): What the median must not exceed to reach the target.
        at_least (`float`, *optional*): What the median must reach.

    Example:
        >>> measure = Measure("overhead", "trainer / plain loop", [1.2, 1.0, 1.1], "x", at_most=1.03)
        >>> measure.median, measure.spread, measure.reached
        (1.1, (1.0, 1.2), False)
    """

    section: str
    name: str
    values: list[float]
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        """Median of the repeats."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """Lowest and highest repeat."""
        return min(self.values), max(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the target; None without one."""
        if self.at_most is None and self.at_least is None:
            return None
        above = self.at_least is None or self.median >= self.at_least
        return above and (self.at_most is None or self.median <= self.at_most)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        low, high = self.spread
        return {
            "section": self.section,
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "min": low,
            "max": high,
            "values": self.values,
            "at_most": self.at_most,
            "at_least": self.at_least,
            "reached": self.reached,
        }


def clock(device: str) -> float:
    """Seconds on a clock that only goes on, once the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def alternate(
    variants: Mapping[str, Callable[[], float]], repeats: int, description: str, warm_up: int = 1
) -> dict[str, list[float]]:
    """
    Run variants in turn, so that a machine that slows down or wakes up does so to all of them.

    The order turns by one from repeat to repeat, so that none of them is always the first.

    Args:
        variants (`Mapping[str, Callable]`): For each variant what runs it and gives a number, such as its seconds.
        repeats (`int`): Runs of each variant that count.
        description (`str`): What the progress bar says.
        warm_up (`int`, *optional*, defaults to 1): Runs of each variant before these, which do not count.

    Returns:
        `dict[str, list[float]]`: For each variant its numbers, one a repeat.

    Example:
        >>> runs = iter(range(100))
        >>> alternate({"a": lambda: next(runs), "b": lambda: next(runs)}, repeats=2, description="two")
        {'a': [2, 5], 'b': [3, 4]}
    """
    names = list(variants)
    numbers: dict[str, list[float]] = {name: [] for name in names}
    with tqdm(total=len(names) * (repeats + warm_up), desc=description, leave=False) as bar:
        for repeat in range(-warm_up, repeats):
            turn = max(repeat, 0) % len(names)
            for name in names[turn:] + names[:turn]:
                number = variants[name]()
                if repeat >= 0:
                    numbers[name].append(number)
                bar.update()
    return numbers


def ratio(numerator: list[float], denominator: list[float]) -> list[float]:
    """
    Ratio of two variants in each repeat.

    Args:
        numerator, denominator (`list[float]`): One number a repeat.

    Returns:
        `list[float]`: One ratio a repeat.

    Example:
        >>> ratio([2.0, 3.0], [1.0, 2.0])
        [2.0, 1.5]
    """
    return [above / below for above, below in zip(numerator, denominator, strict=True)]
