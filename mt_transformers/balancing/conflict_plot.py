"""A picture of how the gradients of tasks agree in the course of training."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..whole_files import whole_file
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
        InputError: If matplotlib is not installed, or there is nothing to draw.

    Example:
        A run that was saved::

            draw_conflicts(ConflictReport.load(Path("out/conflicts.json")), Path("conflicts.png"))
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            f'{file} is drawn with matplotlib, which is not installed: pip install "mt_transformers[balancing]".'
        ) from error
    pairs = list(combinations(range(len(report.names)), 2))
    if not pairs or not report.records:
        raise InputError(f"{file}: expected records of two tasks at least, found {len(report.records)} record(s).")
    cosines = np.array([[each.cosines[i][j] for each in report.records] for i, j in pairs], dtype=float)
    known = ~np.isnan(cosines)
    means = np.where(known, cosines, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    order = np.argsort(means, kind="stable")
    names = [f"{report.names[i]} / {report.names[j]}" for i, j in (pairs[place] for place in order)]
    figure = Figure(figsize=(8, 1.5 + 0.3 * len(pairs)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.ma.masked_invalid(cosines[order]), aspect="auto", cmap="RdBu", vmin=-1, vmax=1)
    axes.set_yticks(range(len(names)), names)
    shown = np.unique(np.linspace(0, len(report.records) - 1, _STEPS_NAMED).round().astype(int))
    axes.set_xticks(shown, [str(report.records[place].step) for place in shown])
    axes.set(xlabel="optimizer step", title="cosine of gradients")
    figure.colorbar(image)
    with whole_file(file) as unfinished:
        figure.savefig(unfinished, dpi=150, format=file.suffix[1:])
