"""The report as Markdown, which also reads well in a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..metrics.deviation import mean_and_deviation
from ..training.model_card.markdown import escape
from .comparison import Comparison
from .costs import Cost
from .report import BaselineReport

__all__ = ["markdown_report", "warnings_of"]


def markdown_report(report: BaselineReport) -> str:
    """
    Lay out a report.

    Args:
        report ([`BaselineReport`]): The report.

    Returns:
        `str`: Tables of the tasks, of the costs and, where tasks were left out, of what they do to the others.
    """
    seeds = f"{len(report.seeds)} seed{'s' if len(report.seeds) > 1 else ''}"
    changes = _mean([100 * each for each in report.mean_relative_changes], "{:+.1f}")
    parts = [
        f"Primary metric on the {report.split} split, {seeds}; a task has the same number of rows alone and together.",
        _table(_HEADER, [_cells(each, report) for each in report.comparisons]),
        f"Mean relative change: {changes} %; median over heads: {100 * report.median_relative_change:+.1f} %",
        _table(("cost", "a model each", "one model", "ratio"), _cost_rows(report)),
    ]
    if report.left_out:
        parts += [
            "Relative change of a task (row) through training with another one (column) among all (%):",
            _effects(report),
        ]
    return "\n\n".join(parts)


_HEADER = ("task", "head", "metric", "rows seen", "single", "multi", "difference", "change (%)")


def warnings_of(report: BaselineReport) -> list[str]:
    """
    Name each head that ends worse than it does alone.

    Args:
        report ([`BaselineReport`]): The report.

    Returns:
        `list[str]`: A sentence a head.
    """
    return [
        f"task {each.task!r}, head {each.head!r}: {each.metric} is {_mean(each.multi)} with the other tasks and "
        f"{_mean(each.other)} alone: {_advice(each)}"
        for each in report.worse
    ]


def _advice(each: Comparison) -> str:
    if each.is_within_deviation:
        return "no more than seeds differ, and more of them would tell."
    return "train it alone, or see what balancing does."


def _cells(each: Comparison, report: BaselineReport) -> list[str]:
    return [
        escape(each.task),
        escape(each.head),
        each.metric,
        str(report.rows_seen[each.task]),
        _mean(each.other),
        _mean(each.multi),
        _mean(each.differences, "{:+.4f}"),
        _mean([100 * change for change in each.relative_changes], "{:+.1f}"),
    ]


def _cost_rows(report: BaselineReport) -> list[list[str]]:
    rows = [_cost("parameters (millions)", report.num_parameters, 1e-6, "{:.1f}")]
    if report.training is not None:
        rows.append(_cost("training (s)", report.training, 1, "{:.0f}"))
    rows.append(_cost("all answers for a row (ms)", report.inference, 1e3, "{:.1f}"))
    return rows


def _cost(name: str, cost: Cost, unit: float, form: str) -> list[str]:
    return [name, form.format(cost.single * unit), form.format(cost.multi * unit), f"{cost.multi / cost.single:.2f}"]


def _effects(report: BaselineReport) -> str:
    tasks = list(dict.fromkeys(each.task for each in report.comparisons))
    rows = [
        [escape(task), *(_mean([100 * report.effect(task, other)], "{:+.1f}") for other in tasks)] for task in tasks
    ]
    return _table(("task", *(escape(task) for task in tasks)), rows)


def _mean(values: Sequence[float], form: str = "{:.4f}") -> str:
    """The mean, and the deviation where there is one."""
    mean, deviation = mean_and_deviation(values)
    if math.isnan(mean):
        return "-"
    spread = "" if math.isnan(deviation) else f" ± {form.replace('+', '').format(deviation)}"
    return form.format(mean) + spread


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    ruler = "|".join(
        "-" * (width + 2) if number == 0 else "-" * (width + 1) + ":" for number, width in enumerate(widths)
    )
    return "\n".join([line(header), f"|{ruler}|", *map(line, rows)])
