"""The recipe of each run: that of all tasks, with what belongs to other tasks left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..training import LoadedRecipe
from ..training.components import ALL_HEADS
from ..training.recipe_loading import with_training
from .budget import Budget
from .runs import BaselineRun

__all__ = ["recipe_of_run"]

_BY_COMPONENT = ("learning_rates", "weight_decays", "freeze_until")
_STEPS = ("eval_steps", "logging_steps", "warmup_steps")
"""Training arguments that count optimizer steps, or below 1 are a fraction of them; beside `save_steps`."""


def recipe_of_run(run: BaselineRun, loaded: LoadedRecipe, budget: Budget, parameters: Collection[str]) -> LoadedRecipe:
    """
    Make the recipe of a run.

    It sees the same number of rows of each of its tasks as the recipe of all tasks, in batches of the same size. So a
    run of fewer tasks has fewer optimizer steps; numbers of steps among the training arguments shrink with them.

    Args:
        run ([`BaselineRun`]): The run.
        loaded ([`LoadedRecipe`]): The recipe of all tasks.
        budget ([`Budget`]): What that one spends.
        parameters (`Collection[str]`): Names of all heads' parameters, as initializers know them.

    Returns:
        [`LoadedRecipe`]: Its `output_dir` is a folder of the run's name in that of the recipe.

    Raises:
        InputError: If the training arguments cannot be those of fewer tasks.
    """
    recipe, names = loaded.recipe, run.tasks(list(budget.rows))
    values: dict[str, Any] = {
        **recipe.training,
        "output_dir": str(Path(recipe.training["output_dir"]) / run.name),
        "seed": run.seed,
        "push_to_hub": False,
    }
    for name in ("resume_from_checkpoint", "conflict_steps"):
        values.pop(name, None)
    if run.kind == "multi":
        return _settled(loaded, values, run)
    tasks = {name: recipe.tasks[name] for name in names}
    heads = {head: loaded.heads[head] for task in tasks.values() for head in task.labels}
    values = _for_fewer_tasks(values, tasks, list(heads), budget) | _fewer_steps(loaded, budget.share(names))
    left_out = [head for head in loaded.heads if head not in heads]
    smaller = replace(
        recipe,
        heads={name: recipe.heads[name] for name in heads},
        tasks=tasks,
        mixture=budget.mixture(recipe.mixture, names),
        loss_weights={name: weight for name, weight in recipe.loss_weights.items() if name in heads},
        initializer=_rules_left(recipe.initializer, parameters, left_out),
    )
    return _settled(replace(loaded, recipe=smaller, heads=heads), values, run)


def _settled(loaded: LoadedRecipe, values: Mapping[str, Any], run: BaselineRun) -> LoadedRecipe:
    """With training arguments of its own."""
    try:
        return with_training(loaded, values)
    except InputError as error:
        raise InputError(f"run {run.name}: {error}") from error


def _for_fewer_tasks(
    values: Mapping[str, Any], tasks: Collection[str], heads: Sequence[str], budget: Budget
) -> dict[str, Any]:
    """The training arguments without what is about other tasks."""
    kept = dict(values)
    share = budget.share(list(tasks))
    if kept.pop("max_steps", -1) > 0:
        kept["num_train_epochs"] = budget.num_epochs
    for name in _BY_COMPONENT:
        given = kept.get(name) or {}
        kept[name] = {key: value for key, value in given.items() if key in ("backbone", ALL_HEADS, *heads)}
    kept["freeze_until"] = {key: round(steps * share) for key, steps in kept["freeze_until"].items()}
    if len(tasks) == 1:
        kept.pop("balancing", None)
    best = re.sub("^eval_", "", str(kept.get("metric_for_best_model", "score")))
    if best not in ("loss", "score") and not any(best.startswith(f"{name}_") for name in tasks):
        # a metric of another task; greater_is_better may have been about it
        kept.pop("metric_for_best_model"), kept.pop("greater_is_better", None)
    return kept


def _fewer_steps(loaded: LoadedRecipe, share: float) -> dict[str, Any]:
    """Numbers of optimizer steps in a run of a share of the rows, such that they are the same part of it."""
    args = loaded.arguments
    found = {name: getattr(args, name) for name in _STEPS}
    steps = {name: max(1, round(value * share)) for name, value in found.items() if value is not None and value >= 1}
    if args.save_steps >= 1:
        # the best model is looked for among those that were saved: every so many evaluations
        evaluated = args.eval_steps if args.eval_steps is not None and args.eval_steps >= 1 else None
        times = None if evaluated is None else max(1, round(args.save_steps / evaluated))
        steps["save_steps"] = max(1, round(args.save_steps * share)) if times is None else steps["eval_steps"] * times
    return steps


def _rules_left(rules: Sequence[Any], parameters: Collection[str], left_out: Collection[str]) -> list[Any]:
    """The initializer's rules that fit something else than parameters of heads that are left out."""
    gone = {name for name in parameters if any(name.startswith(f"heads.{head}.") for head in left_out)}
    kept = [name for name in parameters if name not in gone]
    return [rule for rule in rules if any(re.search(rule[0], name) for name in kept)]
