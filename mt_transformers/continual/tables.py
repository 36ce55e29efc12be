"""Tables of results, for a terminal and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..metrics.deviation import mean_and_deviation
from ..training.model_card.markdown import escape
from .results import ContinualResults
from .seeds import runs_by_strategy

__all__ = ["format_comparison", "format_matrix", "markdown_comparison", "markdown_matrix"]

_PERCENT = {
    "average_accuracy": "accuracy (%)",
    "forgetting": "forgetting (%)",
    "backward_transfer": "BWT (%)",
    "forward_transfer": "FWT (%)",
}
_HEADER = ["strategy", *_PERCENT.values(), "seconds", "buffer (MB)", "runs"]
_NOTHING = "-"


def format_matrix(results: ContinualResults) -> str:
    """
    Lay out the scores after each experience on those learnt so far, and their mean.

    Args:
        results ([`ContinualResults`]): The run.

    Returns:
        `str`: A line for each experience that was learnt, a column for each score (percent); `-` where nothing was
        measured.

    Example:
        >>> results = ContinualResults.begin(strategy="naive", scenario="tasks", experiences=["tea", "cake"])
        >>> results.record(0, {0: 1.0})
        >>> results.record(1, {0: 0.5, 1: 0.7504})
        >>> print(format_matrix(results))
        after       1     2  average
        ------  -----  ----  -------
        1 tea   100.0          100.0
        2 cake   50.0  75.0     62.5
    """
    return _lay_out(_matrix_header(results), _matrix_rows(results))


def markdown_matrix(results: ContinualResults) -> str:
    """
    The table of [`format_matrix`] in Markdown.

    Args:
        results ([`ContinualResults`]): The run.

    Returns:
        `str`: The lines, without a line break behind the last.

    Example:
        >>> results = ContinualResults.begin(strategy="naive", scenario="tasks", experiences=["tea", "cake"])
        >>> results.record(0, {0: 1.0})
        >>> print(markdown_matrix(results))
        | after | 1 | 2 | average |
        |---|--:|--:|--:|
        | 1 tea | 100.0 |  | 100.0 |
        | 2 cake | - | - | - |
    """
    return _markdown(_matrix_header(results), [[escape(name), *cells] for name, *cells in _matrix_rows(results)])


def _matrix_header(results: ContinualResults) -> list[str]:
    return ["after", *(str(number + 1) for number in range(len(results.experiences))), "average"]


def _matrix_rows(results: ContinualResults) -> list[list[str]]:
    """For each experience its name, the scores after it on those learnt so far, and their mean."""
    count = len(results.experiences)
    rows = []
    for i, name in enumerate(results.experiences):
        scores = [_percent(score) for score in results.matrix[i, : i + 1]]
        average = _percent(results.measures(i)["average_accuracy"])
        rows.append([f"{i + 1} {name}", *scores, *[""] * (count - i - 1), average])
    return rows


def format_comparison(results: Sequence[ContinualResults]) -> str:
    """
    Lay out what strategies reach, a line each.

    Args:
        results (`Sequence[ContinualResults]`):
            Runs over one scenario. Those of one strategy are joined, as mean ± sample standard deviation.

    Returns:
        `str`: For each strategy the average accuracy, the forgetting, the backward and the forward transfer after the
        last experience (percent), the training time (seconds), the size of the buffer (MB of 10^6 bytes) and the
        number of runs; `-` where a measure is not defined in each of the runs.

    Raises:
        InputError: If there is no run, or the scenarios or their experiences differ.

    Example:
        >>> runs = []
        >>> for score in (0.5, 0.75):
        ...     run = ContinualResults.begin(strategy="naive", scenario="task_incremental", experiences=["a", "b"])
        ...     run.record(0, {0: 1.0})
        ...     run.record(1, {0: score, 1: 1.0})
        ...     run.seconds = [1.5, 2.0]
        ...     runs.append(run)
        >>> print(format_comparison(runs))
        strategy  accuracy (%)  forgetting (%)       BWT (%)  FWT (%)    seconds  buffer (MB)  runs
        --------  ------------  --------------  ------------  -------  ---------  -----------  ----
        naive       81.2 ± 8.8     37.5 ± 17.7  -37.5 ± 17.7        -  3.5 ± 0.0          0.0     2
    """
    compared = _comparison(results)
    columns = [_aligned(column) for column in zip(*(cells for _, cells in compared), strict=True)]
    return _lay_out(_HEADER, list(zip([name for name, _ in compared], *columns, strict=True)))


def markdown_comparison(results: Sequence[ContinualResults]) -> str:
    """
    The table of [`format_comparison`] in Markdown.

    Args:
        results (`Sequence[ContinualResults]`): Runs over one scenario.

    Returns:
        `str`: The lines, without a line break behind the last.

    Raises:
        InputError: If there is no run, or the scenarios or their experiences differ.

    Example:
        >>> results = ContinualResults.begin(strategy="naive", scenario="task_incremental", experiences=["a"])
        >>> results.record(0, {0: 0.875})
        >>> print(markdown_comparison([results]))
        | strategy | accuracy (%) | forgetting (%) | BWT (%) | FWT (%) | seconds | buffer (MB) | runs |
        |---|--:|--:|--:|--:|--:|--:|--:|
        | naive | 87.5 | - | - | - | 0.0 | 0.0 | 1 |
    """
    return _markdown(_HEADER, [[escape(name), *map(_joined, cells)] for name, cells in _comparison(results)])


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of a table in Markdown; all columns but the first stand flush right."""
    marks = f"|---|{'--:|' * (len(header) - 1)}"
    first, *rest = [f"| {' | '.join(line)} |" for line in [header, *rows]]
    return "\n".join([first, marks, *rest])


def _comparison(results: Sequence[ContinualResults]) -> list[tuple[str, list[tuple[str, str]]]]:
    """For each strategy its cells, each a number and its deviation, which is empty where there is none."""
    return [(name, _cells(runs)) for name, runs in runs_by_strategy(results).items()]


def _cells(runs: Sequence[ContinualResults]) -> list[tuple[str, str]]:
    # of an unfinished run there is nothing that compares
    measures = [run.measures(after=len(run.experiences) - 1) for run in runs]
    percents = [mean_and_deviation([100 * each[name] for each in measures]) for name in _PERCENT]
    seconds = mean_and_deviation([sum(run.seconds) for run in runs])
    megabytes, _ = mean_and_deviation([run.buffer_bytes / 1e6 for run in runs])
    numbers = [(_number(mean), _number(deviation, "")) for mean, deviation in [*percents, seconds]]
    return [*numbers, (_number(megabytes), ""), (str(len(runs)), "")]


def _number(value: float, nothing: str = _NOTHING) -> str:
    """With one digit; adding 0 takes the sign from what is rounded to zero."""
    return nothing if math.isnan(value) else f"{round(value, 1) + 0.0:.1f}"


def _percent(score: float) -> str:
    return _number(100 * score)


def _joined(cell: tuple[str, str]) -> str:
    mean, deviation = cell
    return f"{mean} ± {deviation}" if deviation else mean


def _aligned(cells: Sequence[tuple[str, str]]) -> list[str]:
    """The cells of a column, the means below each other."""
    width = max(len(deviation) for _, deviation in cells)
    # as wide as what joins the two and the deviation
    nothing = " " * len(_joined(("", " " * width)))
    return [_joined((mean, deviation.rjust(width))) if deviation else mean + nothing for mean, deviation in cells]


def _lay_out(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of a table; all columns but the first stand flush right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines
    )
