"""`mt-transformers train RECIPE`: train, evaluate and save."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..training import Recipe

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
        recipe ([`Recipe`]): What to train.
    """
    from ..training import load_recipe, plan_recipe, run_recipe
    from .table import format_plan, format_results

    loaded = load_recipe(recipe)
    main_process = loaded.arguments.process_index == 0
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
    if main_process:
        print(f"\nSaved to {loaded.arguments.output_dir}", flush=True)
