"""Methods of balancing under the same steps, beside the baselines of their recipe."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mt_transformers.baselines import (
    BaselineReport,
    BaselineRun,
    RunResult,
    markdown_report,
    run_baselines,
    save_report,
    train_run,
    warnings_of,
)
from mt_transformers.baselines.comparison import Comparison, mean_relative_change
from mt_transformers.errors import InputError
from mt_transformers.metrics.deviation import mean_and_deviation
from mt_transformers.pictures import picture
from mt_transformers.training import LoadedRecipe, load_recipe, read_recipe
from mt_transformers.training.balancing_checks import check_balancing
from mt_transformers.training.recipe_loading import with_training
from mt_transformers.training.run import build_model
from mt_transformers.whole_files import whole_file

__all__ = ["run_study"]

_PREFIXES = {"validation": "eval", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """
    A line of the table of methods.

    Args:
        name (`str`): The method.
        values (`np.ndarray` of shape `(seeds, heads)`): Primary metrics.
        changes (`Sequence[float]`): For each seed the mean relative change against each task alone.
        seconds (`float`, *optional*): How long a run trained (seconds).
    """

    name: str
    values: np.ndarray
    changes: Sequence[float]
    seconds: float | None


def run_study(given: argparse.Namespace, overrides: Sequence[str], command: str) -> str:
    """
    Do all runs that were not done yet, and write the report of all of them.

    Args:
        given (`argparse.Namespace`): The arguments of the command line.
        overrides (`Sequence[str]`): Values of the recipe.
        command (`str`): The command line.

    Returns:
        `str`: The report.

    Raises:
        InputError: If something of the recipe or a method cannot be used.
    """
    if not 1 <= given.method_seeds <= given.seeds:
        raise InputError(f"--method-seeds: expected a number from 1 to {given.seeds}, found {given.method_seeds}.")
    loaded = load_recipe(read_recipe(given.recipe, ["--training.output_dir", str(given.output), *overrides]))
    if loaded.arguments.balancing is not None:
        raise InputError(f"balancing: expected none in the recipe, found {loaded.arguments.balancing!r}.")
    names = [name for name in given.methods.split(",") if name]
    first = loaded.arguments.seed
    variants = {
        name: [_variant(loaded, name, seed) for seed in range(first, first + given.method_seeds)] for name in names
    }
    model, heads, tasks = build_model(loaded), list(loaded.heads), list(loaded.recipe.tasks)
    for recipes in variants.values():
        check_balancing(recipes[0].arguments, model, heads, tasks)
    report = run_baselines(loaded, given.seeds, given.split, on_run=_announce)
    rows = [_alone(report), _together(report)]
    for name, recipes in variants.items():
        print(f"method {name}, {len(recipes)} seed(s)", flush=True)
        rows.append(_row(name, [train_run(each) for each in recipes], report))
    return _write(report, rows, given.output, command)


def _variant(loaded: LoadedRecipe, name: str, seed: int) -> LoadedRecipe:
    """The recipe under a method of balancing, or another reduction of losses."""
    recipe, folder = loaded.recipe, Path(str(loaded.arguments.output_dir)) / f"{name}-seed{seed}"
    values: dict[str, Any] = {**recipe.training, "output_dir": str(folder), "seed": seed}
    if name in ("per_head", "per_row"):
        return with_training(replace(loaded, recipe=replace(recipe, loss_reduction=name)), values)
    return with_training(loaded, {**values, "balancing": name})


def _announce(number: int, count: int, run: BaselineRun, is_done: bool) -> None:
    if not is_done:
        print(f"run {number} of {count}: {run.name}", flush=True)


def _alone(report: BaselineReport) -> Row:
    values = np.array([each.other for each in report.comparisons]).T
    seconds = None if report.training is None else report.training.single
    return Row(name="a model each", values=values, changes=[0.0] * len(values), seconds=seconds)


def _together(report: BaselineReport) -> Row:
    values = np.array([each.multi for each in report.comparisons]).T
    seconds = None if report.training is None else report.training.multi
    return Row(name="plain sum", values=values, changes=report.mean_relative_changes, seconds=seconds)


def _row(name: str, results: Sequence[RunResult], report: BaselineReport) -> Row:
    """The runs of a method, each against the tasks alone with the same seed."""
    found = []
    for each in report.comparisons:
        metric = f"{_PREFIXES[report.split]}_{each.task}_{each.head}_{each.metric}"
        multi = tuple(result.metrics[metric] for result in results)
        found.append(replace(each, other=each.other[: len(multi)], multi=multi))
    seconds = [result.seconds for result in results if result.seconds is not None]
    return Row(
        name=name,
        values=np.array([each.multi for each in found]).T,
        changes=mean_relative_change(found),
        seconds=float(np.mean(seconds)) if seconds else None,
    )


def _write(report: BaselineReport, rows: Sequence[Row], output: Path, command: str) -> str:
    """Write tables and pictures; the text of the report."""
    table = _table(report.comparisons, rows)
    text = "\n\n".join(
        [
            f"```bash\n{command}\n```",
            markdown_report(report),
            *warnings_of(report),
            "Methods under the same steps (primary metric, percent; mean and deviation over seeds):",
            table,
        ]
    )
    with whole_file(output / "report.md") as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")
    save_report(report, output)
    _draw(rows, output / "methods.png")
    return text


def _table(comparisons: Sequence[Comparison], rows: Sequence[Row]) -> str:
    heads = [each.head for each in comparisons]
    lines = [
        f"| method | {' | '.join(heads)} | mean | change (%) | training (s) | seeds |",
        "|---" + "|--:" * (len(heads) + 4) + "|",
    ]
    for row in rows:
        cells = [_percent(column) for column in row.values.T] + [_percent(row.values.mean(axis=1))]
        cells += [_percent(np.array(row.changes)), "-" if row.seconds is None else f"{row.seconds:.0f}"]
        lines.append(f"| {row.name} | {' | '.join(cells)} | {len(row.values)} |")
    return "\n".join(lines)


def _percent(values: np.ndarray) -> str:
    mean, deviation = mean_and_deviation([100 * float(value) for value in values])
    return f"{mean:.1f}" if np.isnan(deviation) else f"{mean:.1f} ± {deviation:.1f}"


def _draw(rows: Sequence[Row], file: Path) -> None:
    """Draw what each method gains or loses against a model for each task, a dot a seed."""
    with picture(file, (7, 1.2 + 0.4 * len(rows)), "balancing") as figure:
        axes = figure.subplots()
        for place, row in enumerate(rows[1:]):
            changes = [100 * change for change in row.changes]
            axes.barh(place, np.mean(changes), color="#0072B2", alpha=0.6)
            axes.plot(changes, [place] * len(changes), "o", color="#0072B2", markersize=4)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(rows) - 1), [row.name for row in rows[1:]])
        axes.invert_yaxis()
        axes.set(xlabel="mean relative change against a model for each task (%)")
