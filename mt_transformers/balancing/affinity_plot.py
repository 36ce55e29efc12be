"""A picture of how tasks agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..pictures import literal, picture
from .affinity import AffinityReport, Matrix

__all__ = ["draw_affinity"]


def draw_affinity(report: AffinityReport, file: Path) -> None:
    """
    Draw two heat maps: the cosines of gradients, and what a step for one task does to the others.

    Args:
        report ([`AffinityReport`]): The report.
        file (`Path`): A `.png`, `.svg` or `.pdf` file; it appears whole or not at all.

    Raises:
        InputError: See [`picture`].
    """
    side = 2.5 + 0.6 * len(report.names)
    # a few thousandths as a rule
    ahead = [[None if each is None else 1000 * each for each in row] for row in report.lookahead]
    with picture(file, (2 * side + 1, side), "balancing") as figure:
        left, right = figure.subplots(1, 2)
        _draw(left, report, report.cosines, "cosine of gradients", "{:.2f}", 1.0)
        _draw(right, report, ahead, "a step for the row, on the column's loss (‰)", "{:.1f}", None)


def _draw(axes: Any, report: AffinityReport, matrix: Matrix, title: str, form: str, most: float | None) -> None:
    values = np.array(matrix, dtype=float)
    largest = most or float(np.nanmax(np.abs(values), initial=0)) or 1.0
    axes.imshow(np.ma.masked_invalid(values), cmap="RdBu", vmin=-largest, vmax=largest)
    for row, column in zip(*np.nonzero(~np.isnan(values)), strict=True):
        dark = abs(values[row, column]) > 0.6 * largest
        axes.text(
            column,
            row,
            form.format(values[row, column]),
            ha="center",
            va="center",
            color="white" if dark else "black",
            fontsize="small",
        )
    names = list(map(literal, report.names))
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_title(title)
