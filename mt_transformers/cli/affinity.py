"""`mt-transformers affinity RECIPE`: which tasks agree with which."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..balancing.affinity import AffinityReport

__all__ = ["add_parser", "format_affinity"]


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("affinity", help="measure how the tasks of a recipe agree while it is trained")
    parser.add_argument("recipe", metavar="RECIPE", help="YAML file; any value can be set: --training.seed 1")
    parser.add_argument("--steps", type=int, metavar="N", help="optimizer steps; default: those of the recipe")
    parser.set_defaults(run=_run, takes_overrides=True)


def _run(arguments: argparse.Namespace, overrides: list[str]) -> None:
    from pathlib import Path

    from transformers.utils import is_matplotlib_available

    from ..balancing.affinity_plot import draw_affinity
    from ..baselines.affinity import AFFINITY_FOLDER, measure_affinity
    from ..training import load_recipe, read_recipe

    loaded = load_recipe(read_recipe(arguments.recipe, overrides))
    report = measure_affinity(loaded, arguments.steps)
    if loaded.arguments.process_index > 0:
        return
    folder = Path(str(loaded.arguments.output_dir)) / AFFINITY_FOLDER
    report.save(folder / "affinity.json")
    print(f"\n{format_affinity(report)}\n")
    if is_matplotlib_available():
        draw_affinity(report, folder / "affinity.png")
    else:
        print('No picture is drawn without matplotlib: pip install "mt_transformers[balancing]"')
    print(f"Saved to {folder}", flush=True)


def format_affinity(report: AffinityReport) -> str:
    """
    Lay out how tasks agree.

    Args:
        report ([`AffinityReport`]): The report.

    Returns:
        `str`: A table of gradients, and one of what steps do.
    """
    from .table import format_table

    gradients = [
        [name, _number(report.norms[row], "{:.3g}"), *map(_cell, report.cosines[row], report.conflicts[row])]
        for row, name in enumerate(report.names)
    ]
    ahead = [
        [name, *(_number(each, "{:+.2f}", 1000) for each in report.lookahead[row])]
        for row, name in enumerate(report.names)
    ]
    return "\n\n".join(
        [
            f"Gradients in {report.looks} optimizer steps: mean cosine, and share of steps in conflict",
            format_table(["task", "norm", *report.names], gradients),
            "A step for the row's task alone: by how much it lowers the loss of the column's task (thousandths)",
            format_table(["task", *report.names], ahead),
        ]
    )


def _cell(cosine: float | None, conflict: float | None) -> str:
    return "-" if cosine is None or conflict is None else f"{cosine:+.2f} ({100 * conflict:.0f} %)"


def _number(value: float | None, form: str, times: float = 1) -> str:
    return "-" if value is None else form.format(value * times)
