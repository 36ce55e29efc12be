"""`mt-transformers train RECIPE`: train, evaluate and save."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..continual.run import ContinualRun
    from ..training import LoadedRecipe, Recipe

__all__ = ["add_parser", "train"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("train", help="train a recipe and save the model with its results")
    parser.add_argument("recipe", metavar="RECIPE", help="YAML file; any value can be set: --training.seed 1")
    parser.set_defaults(run=_run, takes_overrides=True)


def _run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from ..training import read_recipe

    train(read_recipe(arguments.recipe, overrides))


def train(recipe: Recipe) -> None:
    """
    Print the plan, train, and print the results of every task and head.

    Args:
        recipe ([`Recipe`]): What to train, at once or one experience after another.
    """
    from ..training import load_recipe

    loaded = load_recipe(recipe)
    main_process = loaded.arguments.process_index == 0
    if recipe.experiences is None:
        _train_at_once(loaded, main_process)
    else:
        _train_continually(loaded, main_process)
    if main_process:
        print(f"\nSaved to {loaded.arguments.output_dir}", flush=True)


def _train_at_once(loaded: LoadedRecipe, main_process: bool) -> None:
    from ..training import plan_recipe, run_recipe
    from .table import format_plan, format_results

    streamed = any(
        not hasattr(each, "__len__") for task in loaded.recipe.tasks.values() for each in task.dataset.values()
    )
    if main_process and not streamed:
        print(format_plan(plan_recipe(loaded)), flush=True)
    results = run_recipe(loaded)
    tasks = {name: list(task.labels) for name, task in loaded.recipe.tasks.items()}
    for prefix in ("eval", "test"):
        if main_process and f"{prefix}_loss" in results:
            print(f"\n{format_results(results, tasks, loaded.heads, prefix)}")


def _train_continually(loaded: LoadedRecipe, main_process: bool) -> None:
    from ..continual.run import recipe_scenario, run_continual
    from .table import format_results, format_scenario

    scenario = recipe_scenario(loaded)
    if main_process:
        print(format_scenario(scenario), flush=True)
    run = run_continual(loaded)
    tasks = {name: list(task.labels) for name, task in scenario.tasks.items()}
    for prefix in ("eval", "test"):
        if main_process and f"{prefix}_loss" in run.metrics:
            print(f"\n{format_results(run.metrics, tasks, scenario.heads, prefix)}")
    if main_process:
        _show_comparison(run)


def _show_comparison(run: ContinualRun) -> None:
    from ..continual.tables import format_comparison, format_matrix

    print(f"\nScore after each experience on those learnt so far (%):\n\n{format_matrix(run.results)}")
    print(f"\nAfter the last experience:\n\n{format_comparison([run.results, *run.bounds])}")
