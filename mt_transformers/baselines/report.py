"""What came out: whether each task is better off with the others, and what that costs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

from ..whole_files import whole_file
from .comparison import Comparison, mean_relative_change
from .costs import Cost

__all__ = ["BaselineReport"]


@dataclass(frozen=True, kw_only=True)
class BaselineReport:
    """
    Multi-task training against one model for each task.

    Args:
        setting (`str`): A hash of the recipe, see [`fingerprint`].
        split (`str`): The split that was measured on.
        seeds (`list[int]`): The seeds.
        comparisons (`list[Comparison]`): Each head of each task, alone and together.
        left_out (`list[Comparison]`): The heads of the other tasks, without a task and with it.
        rows_seen (`dict[str, int]`): For each task the training rows of a run, alone as well as together.
        num_parameters ([`Cost`]): Parameters.
        training ([`Cost`], *optional*): Training of a seed (seconds).
        inference ([`Cost`]): All answers for a row (seconds).
    """

    setting: str
    split: str
    seeds: list[int]
    comparisons: list[Comparison]
    left_out: list[Comparison]
    rows_seen: dict[str, int]
    num_parameters: Cost
    training: Cost | None
    inference: Cost

    @property
    def mean_relative_changes(self) -> list[float]:
        """For each seed the mean over heads, see [`mean_relative_change`] (fractions)."""
        return mean_relative_change(self.comparisons)

    @property
    def median_relative_change(self) -> float:
        """The median over heads of their means over seeds, which one head that is near 0 alone does not settle."""
        means = [fmean(each.relative_changes) for each in self.comparisons]
        known = [mean for mean in means if not math.isnan(mean)]
        return median(known) if known else math.nan

    @property
    def worse(self) -> list[Comparison]:
        """Heads that end worse than alone."""
        return [each for each in self.comparisons if each.is_worse]

    def effect(self, task: str, left_out: str) -> float:
        """
        Say what a task gains from another one.

        Args:
            task (`str`): The task that gains, or loses.
            left_out (`str`): The one that it is trained with, among all others, or without.

        Returns:
            `float`: The relative change of its heads' metrics, above 0 where the other one helps; NaN if it was not
            measured.
        """
        found = [each for each in self.left_out if (each.task, each.left_out) == (task, left_out)]
        changes = [change for each in found for change in each.relative_changes if not math.isnan(change)]
        return fmean(changes) if changes else math.nan

    def save(self, file: Path) -> None:
        """
        Write the report as JSON, with the mean relative change of each seed and the median over heads.

        Args:
            file (`Path`): The file, which appears whole or not at all.
        """
        changes = {name: getattr(self, name) for name in ("mean_relative_changes", "median_relative_change")}
        with whole_file(file) as unfinished:
            text = json.dumps(_plain({**asdict(self), **changes}), indent=2, allow_nan=False) + "\n"
            unfinished.write_text(text, encoding="utf-8")


def _plain(value: object) -> object:
    """The value with None for NaN, for which JSON has no word."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
