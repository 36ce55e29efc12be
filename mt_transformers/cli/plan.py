"""`mt-transformers plan RECIPE`: the table of the mixture, or of the experiences."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("plan", help="print what a recipe's mixture does with the rows of each task")
    parser.add_argument("recipe", metavar="RECIPE", help="YAML file; --mixture.order random sets any value")
    parser.set_defaults(run=_run, takes_overrides=True)


def _run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from ..training import load_recipe, plan_recipe, read_recipe
    from .table import format_plan, format_scenario

    loaded = load_recipe(read_recipe(arguments.recipe, overrides))
    if loaded.recipe.experiences is None:
        print(format_plan(plan_recipe(loaded)))
        return
    from ..continual.run import recipe_scenario

    print(format_scenario(recipe_scenario(loaded)))
