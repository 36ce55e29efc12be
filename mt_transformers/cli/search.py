"""`mt-transformers search RECIPE`: try values of a recipe, and write the recipe with the best ones."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..search import SearchRecord, TrialRecord

__all__ = ["add_parser", "format_ranking"]

_SHOWN = 10
"""Trials in the table."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("search", help="search for the values of a recipe that train best")
    parser.add_argument("recipe", metavar="RECIPE", help="YAML file with a section 'search'; any value can be set")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="number of trials; default: 20")
    parser.set_defaults(run=_run, takes_overrides=True)


def _run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from ..search import search_recipe

    record = search_recipe(arguments.recipe, overrides, arguments.trials, _show)
    print(f"\n{format_ranking(record)}")
    print(f"\nTrain the best one:\n\n    mt-transformers train {record.best_file}", flush=True)


def _show(trial: TrialRecord) -> None:
    values = ", ".join(f"{key} {_short(value)}" for key, value in trial.values.items())
    score = f"no score: {trial.fault}" if trial.eval_score is None else f"eval_score {trial.eval_score:.4f}"
    print(f"trial {trial.number}: {values}: {score} ({trial.seconds:.0f} s)", flush=True)


def format_ranking(record: SearchRecord) -> str:
    """
    Lay out the best trials.

    Args:
        record ([`SearchRecord`]): The search.

    Returns:
        `str`: The table, the best trial first.
    """
    from .table import format_table

    rows = [
        [each.number, *map(_short, each.values.values()), f"{each.eval_score:.4f}", round(each.seconds)]
        for each in record.ranked()[:_SHOWN]
    ]
    return format_table(["trial", *record.search, "eval_score", "seconds"], rows)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
