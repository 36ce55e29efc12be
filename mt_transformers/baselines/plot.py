"""A picture of a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..metrics.deviation import mean_and_deviation
from ..pictures import literal, picture
from .comparison import Comparison
from .report import BaselineReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_report"]

_BETTER, _WORSE = "#0072B2", "#D55E00"


def draw_report(report: BaselineReport, file: Path) -> None:
    """
    Draw how far each head moves through training with the other tasks, a dot a seed; and what tasks that were left out
    do to the others, as a heat map.

    Args:
        report ([`BaselineReport`]): The report.
        file (`Path`): A `.png`, `.svg` or `.pdf` file; it appears whole or not at all.

    Raises:
        InputError: See [`picture`].
    """
    wide = bool(report.left_out)
    height = 1.6 + 0.4 * len(report.comparisons)
    with picture(file, (14 if wide else 7, height), "balancing") as figure:
        axes = figure.subplots(1, 2 if wide else 1, squeeze=False)[0]
        _draw_changes(axes[0], report)
        if wide:
            _draw_effects(axes[1], report)


def _draw_changes(axes: Axes, report: BaselineReport) -> None:
    for place, each in enumerate(report.comparisons):
        changes = [100 * change for change in each.relative_changes]
        mean, deviation = mean_and_deviation(changes)
        color = _WORSE if each.is_worse else _BETTER
        axes.barh(place, mean, xerr=deviation if len(changes) > 1 else None, color=color, alpha=0.6, capsize=3)
        axes.plot(changes, [place] * len(changes), "o", color=color, markersize=4)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(report.comparisons)), [_label(each) for each in report.comparisons])
    axes.invert_yaxis()
    mean, _ = mean_and_deviation([100 * each for each in report.mean_relative_changes])
    median = 100 * report.median_relative_change
    axes.set(
        xlabel="relative change (%), above 0: better than alone",
        title=f"together against alone: mean {mean:+.1f} %, median {median:+.1f} %",
    )


def _label(each: Comparison) -> str:
    name = each.task if each.task == each.head else f"{each.task} / {each.head}"
    return literal(f"{name} ({each.metric})")


def _draw_effects(axes: Axes, report: BaselineReport) -> None:
    tasks = list(dict.fromkeys(each.task for each in report.comparisons))
    effects = 100 * np.array([[report.effect(task, other) for other in tasks] for task in tasks])
    largest = float(np.nanmax(np.abs(effects))) or 1.0
    image = axes.imshow(np.ma.masked_invalid(effects), cmap="RdBu", vmin=-largest, vmax=largest, aspect="auto")
    for row, column in zip(*np.nonzero(~np.isnan(effects)), strict=True):
        axes.text(column, row, f"{effects[row, column]:+.1f}", ha="center", va="center")
    names = list(map(literal, tasks))
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="trained with", title="relative change of a task (%)")
    axes.figure.colorbar(image, ax=axes)
