"""What one model for all tasks costs, and one for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from time import perf_counter
from typing import Any

from ..data.task import read_input
from ..inference import MultiTaskPredictor
from ..training import LoadedRecipe
from ..training.run import build_model, load_recipe_processing
from .run_result import RunResult
from .runs import BaselineRun

__all__ = ["Cost", "inference_cost", "training_cost"]

_ROWS_OF_A_TASK = 16
_REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class Cost:
    """
    What something takes of each kind.

    Args:
        single (`float`): With a model for each task, all of them together.
        multi (`float`): With one model for all tasks.
    """

    single: float
    multi: float


def training_cost(results: Mapping[BaselineRun, RunResult], tasks: Sequence[str]) -> Cost | None:
    """
    Measure the training of a seed, in the mean over seeds.

    Args:
        results (`Mapping[BaselineRun, RunResult]`): The runs.
        tasks (`Sequence[str]`): The tasks that are trained.

    Returns:
        [`Cost`]: In seconds; None if there is no seed of which all runs went through in one go.
    """
    totals = []
    for run, result in results.items():
        if run.kind != "multi" or result.seconds is None:
            continue
        alone = [results.get(BaselineRun(kind="single", seed=run.seed, task=task)) for task in tasks]
        seconds = [each.seconds for each in alone if each is not None and each.seconds is not None]
        if len(seconds) == len(tasks):
            totals.append((sum(seconds), result.seconds))
    if not totals:
        return None
    single, multi = zip(*totals, strict=True)
    return Cost(single=fmean(single), multi=fmean(multi))


def inference_cost(loaded: LoadedRecipe, tasks: Sequence[str], split: str) -> Cost:
    """
    Measure what it takes until all heads have answered a row, on the same rows of all tasks.

    The same backbone answers them with the heads of each task in turn, which is as much work as a model for each task,
    and before each of these with all heads; this a few times, of which the medians count. The weights are not trained,
    since they do not matter here.

    Args:
        loaded ([`LoadedRecipe`]): The recipe of all tasks.
        tasks (`Sequence[str]`): The tasks that are trained.
        split (`str`): Where the rows come from.

    Returns:
        [`Cost`]: In seconds a row.
    """
    recipe = loaded.recipe
    model = build_model(loaded)
    model.to(loaded.arguments.device)  # type: ignore[arg-type]
    processing = load_recipe_processing(recipe, model)
    predictor = MultiTaskPredictor(model, processing, loaded.arguments.per_device_eval_batch_size)
    rows = [row for name in tasks for row in _rows(loaded, name, split)]
    heads = [list(recipe.tasks[name].labels) for name in tasks]
    # the first pass is slower than those after it
    predictor(rows[:1])
    single: list[list[float]] = [[] for _ in heads]
    multi = []
    for _ in range(_REPEATS):
        for own, seconds in zip(heads, single, strict=True):
            multi.append(_seconds(predictor, rows))
            seconds.append(_seconds(predictor, rows, own))
    return Cost(single=sum(map(median, single)) / len(rows), multi=median(multi) / len(rows))


def _rows(loaded: LoadedRecipe, task_name: str, split: str) -> list[dict[str, Any]]:
    """Some rows of a task, as a predictor takes them."""
    task = loaded.recipe.tasks[task_name]
    batch = task.dataset[split][:_ROWS_OF_A_TASK]
    columns = {name: read_input(task, name, batch) for name in task.inputs}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _seconds(predictor: MultiTaskPredictor, rows: Sequence[Any], heads: Sequence[str] | None = None) -> float:
    start = perf_counter()
    predictor(rows, heads)
    return perf_counter() - start
