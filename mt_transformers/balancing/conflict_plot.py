"""A picture of how the gradients of tasks agree in the course of training."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..pictures import literal, picture
from .conflicts import ConflictReport

__all__ = ["draw_conflicts"]

_STEPS_NAMED = 8
"""Records that have their step on the axis."""


def draw_conflicts(report: ConflictReport, file: Path) -> None:
    """
    Draw the cosine of each two tasks' gradients over training as a heat map, the pairs that disagree most on top.

    Args:
        report ([`ConflictReport`]): The report, of two tasks at least, with a record at least.
        file (`Path`): A `.png`, `.svg` or `.pdf` file; it appears whole or not at all.

    Raises:
        InputError: If there is nothing to draw, or see [`picture`].

    Example:
        A run that was saved::

            draw_conflicts(ConflictReport.load(Path("out/conflicts.json")), Path("conflicts.png"))
    """
    pairs = list(combinations(range(len(report.names)), 2))
    if not pairs or not report.records:
        raise InputError(f"{file}: expected records of two tasks at least, found {len(report.records)} record(s).")
    cosines = np.array([[each.cosines[i][j] for each in report.records] for i, j in pairs], dtype=float)
    known = ~np.isnan(cosines)
    means = np.where(known, cosines, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    order = np.argsort(means, kind="stable")
    names = [literal(f"{report.names[i]} / {report.names[j]}") for i, j in (pairs[place] for place in order)]
    shown = np.unique(np.linspace(0, len(report.records) - 1, _STEPS_NAMED).round().astype(int))
    with picture(file, (8, 1.5 + 0.3 * len(pairs)), "balancing") as figure:
        axes = figure.subplots()
        image = axes.imshow(np.ma.masked_invalid(cosines[order]), aspect="auto", cmap="RdBu", vmin=-1, vmax=1)
        axes.set_yticks(range(len(names)), names)
        axes.set_xticks(shown, [str(report.records[place].step) for place in shown])
        axes.set(xlabel="optimizer step", title="cosine of gradients")
        figure.colorbar(image)
