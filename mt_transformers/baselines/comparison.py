"""A head of a task as it is when all tasks are trained together, and as it is otherwise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ..heads import HeadConfig
from ..metrics.deviation import mean_and_deviation
from ..training import LoadedRecipe
from .run_result import RunResult
from .runs import BaselineRun

__all__ = ["Comparison", "compare", "mean_relative_change"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """
    A head's primary metric in runs of the same seeds.

    Args:
        task (`str`): The task whose rows it was measured on.
        head (`str`): The head.
        metric (`str`): Its primary metric.
        sign (`int`): 1 if higher values of it are better, -1 if lower ones are.
        other (`tuple[float, ...]`): For each seed its value without multi-task training, or with a task less.
        multi (`tuple[float, ...]`): For each seed its value when all tasks are trained together.
        left_out (`str`, *optional*): The task that the others were trained without; None if the task was alone.

    Example:
        >>> pair = Comparison(task="a", head="x", metric="accuracy", sign=1, other=(0.5, 0.7), multi=(0.6, 0.7))
        >>> [round(change, 2) for change in pair.relative_changes], pair.is_worse
        ([0.2, 0.0], False)
    """

    task: str
    head: str
    metric: str
    sign: int
    other: tuple[float, ...]
    multi: tuple[float, ...]
    left_out: str | None = None

    @property
    def differences(self) -> list[float]:
        """For each seed the value of multi-task training less the other one."""
        return [multi - other for multi, other in zip(self.multi, self.other, strict=True)]

    @property
    def relative_changes(self) -> list[float]:
        """For each seed the difference over the size of the other value, above 0 for the better; NaN over 0."""
        return [
            self.sign * difference / abs(other) if other else math.nan
            for difference, other in zip(self.differences, self.other, strict=True)
        ]

    @property
    def is_worse(self) -> bool:
        """Whether the head ends worse, in the mean over seeds, than it does without the other tasks."""
        return self.sign * fmean(self.differences) < 0

    @property
    def is_within_deviation(self) -> bool:
        """Whether the mean difference is no larger than its deviation over seeds; False for one seed."""
        mean, deviation = mean_and_deviation(self.differences)
        return abs(mean) <= deviation


def compare(
    results: Mapping[BaselineRun, RunResult], loaded: LoadedRecipe, tasks: Sequence[str], prefix: str
) -> list[Comparison]:
    """
    Compare the runs that have come to their end.

    Args:
        results (`Mapping[BaselineRun, RunResult]`): The runs.
        loaded ([`LoadedRecipe`]): The recipe of all tasks.
        tasks (`Sequence[str]`): The tasks that are trained.
        prefix (`str`): What the names of the metrics begin with.

    Returns:
        `list[Comparison]`: Each head of each task against the task alone, then against each task left out, over the
        seeds of which both runs are there.
    """
    others = [(task, "single", task) for task in tasks]
    others += [(task, "without", left) for left in tasks for task in tasks if task != left]
    found = []
    for task, kind, named in others:
        runs = [run for run in results if run.kind == kind and run.task == named]
        pairs = [(results[run], multi) for run in runs if (multi := _multi(results, run.seed)) is not None]
        for head in loaded.recipe.tasks[task].labels if pairs else ():
            config = loaded.heads[head]
            other, together = zip(*(_values(pair, prefix, task, head, config) for pair in pairs), strict=True)
            found.append(
                Comparison(
                    task=task,
                    head=head,
                    metric=config.primary_metric,
                    sign=config.score_sign,
                    other=other,
                    multi=together,
                    left_out=named if kind == "without" else None,
                )
            )
    return found


def _multi(results: Mapping[BaselineRun, RunResult], seed: int) -> RunResult | None:
    return results.get(BaselineRun(kind="multi", seed=seed))


def _values(
    pair: tuple[RunResult, RunResult], prefix: str, task: str, head: str, config: HeadConfig
) -> tuple[float, float]:
    name = f"{prefix}_{task}_{head}_{config.primary_metric}"
    return pair[0].metrics[name], pair[1].metrics[name]


def mean_relative_change(comparisons: Sequence[Comparison]) -> list[float]:
    """
    Average the relative changes of all heads, seed by seed.

    Source: Delta_m of Maninis, Radosavovic and Kokkinos (2019), "Attentive Single-Tasking of Multiple Tasks",
    https://huggingface.co/papers/1904.08918, over heads in place of tasks.

    Args:
        comparisons (`Sequence[Comparison]`): The heads, each alone and together.

    Returns:
        `list[float]`: For each seed the mean, above 0 where multi-task training is the better; heads whose value alone
        is 0 do not count.

    Example:
        >>> up = Comparison(task="a", head="x", metric="accuracy", sign=1, other=(0.5,), multi=(0.6,))
        >>> down = Comparison(task="b", head="y", metric="mse", sign=-1, other=(2.0,), multi=(3.0,))
        >>> [round(change, 2) for change in mean_relative_change([up, down])]
        [-0.15]
    """
    by_seed = zip(*(each.relative_changes for each in comparisons), strict=True)
    known = [[change for change in changes if not math.isnan(change)] for changes in by_seed]
    return [fmean(changes) if changes else math.nan for changes in known]
