"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..continual.scenario import Scenario
    from ..data import MixturePlan
    from ..heads import HeadConfig

__all__ = ["format_plan", "format_results", "format_scenario", "format_table"]


def format_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """
    Lay out a table; columns of numbers stand flush right.

    Args:
        header (`Sequence[str]`): Names of the columns.
        rows (`Sequence[Sequence[Any]]`): The cells.

    Returns:
        `str`: The lines.

    Example:
        >>> print(format_table(["task", "rows"], [["snips", 1400], ["b", 5]]))
        task   rows
        -----  ----
        snips  1400
        b         5
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(header), *cells]) for column in range(len(header))]
    right = [bool(rows) and isinstance(cell, int | float) for cell in (rows[0] if rows else header)]

    def line(row: Sequence[str]) -> str:
        parts = [
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, cells)])


def format_plan(plan: MixturePlan) -> str:
    """
    Lay out what a mixture does.

    Args:
        plan ([`MixturePlan`]): The plan.

    Returns:
        `str`: Two tables: of the tasks, and of the heads.
    """
    tasks = [
        [
            each.task_name,
            each.rows,
            _Fixed(each.share, 3),
            each.rows_per_epoch,
            each.batches,
            _Fixed(each.repeats, 2),
            each.never_seen,
        ]
        for each in plan.tasks
    ]
    header = ["task", "rows", "share", "rows/epoch", "batches", "repeats", "never seen"]
    heads = [[name, _Fixed(weight, 3)] for name, weight in plan.head_weights.items()]
    return (
        f"{format_table(header, tasks)}\n\n{plan.batches} batches an epoch on one process\n\n"
        f"{format_table(['head', 'effective weight'], heads)}"
    )


def format_scenario(scenario: Scenario) -> str:
    """
    Lay out the experiences of a scenario.

    Args:
        scenario ([`Scenario`]): The scenario.

    Returns:
        `str`: Its kind, and a table.
    """
    from ..continual.scenario_table import SCENARIO_HEADER, scenario_rows

    return f"{scenario.kind}\n\n{format_table(SCENARIO_HEADER, scenario_rows(scenario))}"


def format_results(
    results: Mapping[str, float], tasks: Mapping[str, Sequence[str]], heads: Mapping[str, HeadConfig], prefix: str
) -> str:
    """
    Lay out the metrics of every task and head.

    Args:
        results (`Mapping[str, float]`): Metrics by name.
        tasks (`Mapping[str, Sequence[str]]`): For each task its heads.
        heads (`Mapping[str, HeadConfig]`): The heads' configs.
        prefix (`str`): What the names of the metrics begin with.

    Returns:
        `str`: The table, the score below it.
    """
    rows = []
    for task_name, task_heads in tasks.items():
        for head in task_heads:
            values = [(name, results.get(f"{prefix}_{task_name}_{head}_{name}")) for name in heads[head].metric_names]
            shown = [f"{name} {value:.4f}" for name, value in values if value is not None]
            if shown:
                rows.append([task_name, head, ", ".join(shown)])
    score = results.get(f"{prefix}_score")
    tail = "" if score is None else f"\n\n{prefix}_score {score:.4f}, {prefix}_loss {results[f'{prefix}_loss']:.4f}"
    return format_table(["task", "head", f"{prefix} metrics"], rows) + tail


class _Fixed(float):
    """A number that prints with a fixed number of digits."""

    def __new__(cls, value: float, digits: int) -> _Fixed:
        number = super().__new__(cls, value)
        number.digits = digits
        return number

    digits: int

    def __str__(self) -> str:
        return f"{float(self):.{self.digits}f}"
