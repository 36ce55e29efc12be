"""From a recipe to the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..errors import InputError
from ..training import LoadedRecipe, plan_recipe
from ..training.balancing_checks import check_balancing
from ..training.fingerprint import fingerprint
from ..training.run import build_model
from .budget import Budget, measure_budget
from .comparison import compare
from .costs import Cost, inference_cost, training_cost
from .recipes import recipe_of_run
from .report import BaselineReport
from .run_result import RunResult, find_result, train_run
from .runs import BaselineRun, list_runs

__all__ = ["run_baselines"]

_PREFIXES = {"validation": "eval", "test": "test"}

Told = Callable[[int, int, BaselineRun, bool], None]
"""Is told the number of a run that begins, how many there are, the run, and whether it was done before."""


def run_baselines(
    loaded: LoadedRecipe,
    num_seeds: int = 1,
    split: str | None = None,
    leave_one_out: bool = False,
    on_run: Told | None = None,
) -> BaselineReport:
    """
    Train a recipe jointly and one task at a time, under the same number of rows, and compare.

    Each run has a folder in the recipe's `output_dir`, which keeps its result and no weights. Runs that are done are
    not repeated, and one that was interrupted goes on from its last checkpoint.

    Args:
        loaded ([`LoadedRecipe`]): The recipe.
        num_seeds (`int`, *optional*, defaults to 1): Seeds, from that of the recipe on.
        split (`str`, *optional*):
            `validation` or `test`. Defaults to `validation` where every task has it, else to `test`.
        leave_one_out (`bool`, *optional*, defaults to `False`):
            Whether the recipe is also trained without each task in turn, which tells who helps whom.
        on_run (`Callable`, *optional*): Is told of each run that begins: its number, how many there are, the run, and
            whether it was done before.

    Returns:
        [`BaselineReport`].

    Raises:
        InputError: If there are too few tasks, one cannot be measured, or something of the recipe cannot be used;
            before any training.
    """
    if loaded.recipe.experiences is not None:
        raise InputError(
            "experiences: tasks that are learnt one after another have bounds to be compared with instead."
        )
    if type(num_seeds) is not int or num_seeds < 1:
        raise InputError(f"seeds: expected a number of at least 1, found {num_seeds!r}.")
    setting, budget = fingerprint(loaded), measure_budget(loaded)
    tasks = list(budget.rows)
    split = _choose_split(loaded, tasks, split)
    first = loaded.arguments.seed
    runs = list_runs(tasks, range(first, first + num_seeds), leave_one_out)
    recipes = _recipes(runs, loaded, budget)
    inference = inference_cost(loaded, tasks, split)
    results: dict[BaselineRun, RunResult] = {}
    for number, (run, recipe) in enumerate(recipes.items(), start=1):
        if on_run is not None:
            on_run(number, len(runs), run, find_result(recipe) is not None)
        results[run] = train_run(recipe)
    comparisons = compare(results, loaded, tasks, _PREFIXES[split])
    return BaselineReport(
        setting=setting,
        split=split,
        seeds=list(dict.fromkeys(run.seed for run in runs)),
        comparisons=[each for each in comparisons if each.left_out is None],
        left_out=[each for each in comparisons if each.left_out is not None],
        rows_seen={name: budget.rows_seen([name]) for name in tasks},
        num_parameters=_parameters(results, tasks, first),
        training=training_cost(results, tasks),
        inference=inference,
    )


def _choose_split(loaded: LoadedRecipe, tasks: Sequence[str], split: str | None) -> str:
    lacking = {name: [task for task in tasks if name not in loaded.recipe.tasks[task].dataset] for name in _PREFIXES}
    if split is None:
        split = "test" if lacking["validation"] and not lacking["test"] else "validation"
    if split not in lacking:
        raise InputError(f"split: expected one of {', '.join(lacking)}, found {split!r}.")
    if lacking[split]:
        raise InputError(f"task {lacking[split][0]!r}: it has no {split} split to be measured on.")
    return split


def _recipes(runs: Sequence[BaselineRun], loaded: LoadedRecipe, budget: Budget) -> Mapping[BaselineRun, LoadedRecipe]:
    """The recipe of each run; all are looked at before the first one begins."""
    model = build_model(loaded)
    parameters = [f"heads.{name}" for name, _ in model.heads.named_parameters()]
    recipes = {run: recipe_of_run(run, loaded, budget, parameters) for run in runs}
    for recipe in recipes.values():
        find_result(recipe)
        plan_recipe(recipe)
        names = [name for name, task in recipe.recipe.tasks.items() if "train" in task.dataset]
        check_balancing(recipe.arguments, model, list(recipe.heads), names)
    return recipes


def _parameters(results: Mapping[BaselineRun, RunResult], tasks: Sequence[str], seed: int) -> Cost:
    single = [results[BaselineRun(kind="single", seed=seed, task=task)] for task in tasks]
    multi = results[BaselineRun(kind="multi", seed=seed)]
    return Cost(single=sum(each.num_parameters for each in single), multi=multi.num_parameters)
