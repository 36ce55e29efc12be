"""`mt-transformers baselines RECIPE`: does training the tasks together help?"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..baselines import BaselineRun

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "baselines", help="train a recipe jointly and one task at a time, on the same rows, and compare"
    )
    parser.add_argument("recipe", metavar="RECIPE", help="YAML file; any value can be set: --training.seed 1")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from the recipe's on; default: 1")
    parser.add_argument("--split", choices=("validation", "test"), help="default: validation where every task has it")
    parser.add_argument("--leave-one-out", action="store_true", help="also train without each task in turn")
    parser.set_defaults(run=_run, takes_overrides=True)


def _run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from pathlib import Path

    from ..baselines import markdown_report, run_baselines, save_report, warnings_of
    from ..training import load_recipe, read_recipe

    loaded = load_recipe(read_recipe(arguments.recipe, overrides))
    is_main = loaded.arguments.process_index == 0
    announce = _announce if is_main else None
    report = run_baselines(loaded, arguments.seeds, arguments.split, arguments.leave_one_out, announce)
    if not is_main:
        return
    folder = Path(str(loaded.arguments.output_dir))
    save_report(report, folder)
    print(f"\n{markdown_report(report)}\n", flush=True)
    for warning in warnings_of(report):
        print(f"warning: {warning}", file=sys.stderr)
    print(f"Saved to {folder}")


def _announce(number: int, count: int, run: BaselineRun, is_done: bool) -> None:
    print(f"run {number} of {count}: {run.name}{', done before' if is_done else ''}", flush=True)
