"""A picture of a search: the score of each trial against each value."""

from __future__ import annotations

import math
from pathlib import Path
from textwrap import shorten
from typing import Any

from ..errors import InputError
from ..pictures import literal, picture
from ..training.search_space import Choices, Interval, SearchSpace
from .records import SearchRecord, TrialRecord

__all__ = ["draw_search"]

_COLUMNS = 3
"""Panels side by side."""

_NAME_WIDTH = 18
"""Characters of a choice on the axis."""

_MARGIN = 0.05
"""Part of an interval that is left free on both sides."""


def draw_search(record: SearchRecord, space: SearchSpace, file: Path) -> None:
    """
    Draw the score of each trial against each value that was searched for, a panel each; the best one is marked.

    Args:
        record ([`SearchRecord`]): The search, with a trial at least that has a score.
        space (`dict[str, Choices | Interval]`): What was tried for each key.
        file (`Path`): A `.png`, `.svg` or `.pdf` file; it appears whole or not at all.

    Raises:
        InputError: If no trial has a score, or see [`picture`].
    """
    trials = record.ranked()
    if not trials:
        raise InputError(f"{file}: expected a trial with a score, found none.")
    columns = min(_COLUMNS, len(space))
    rows = math.ceil(len(space) / columns)
    with picture(file, (3.2 * columns, 2.6 * rows), "search") as figure:
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
        for axes, (key, tried) in zip(panels, space.items(), strict=False):
            _draw_panel(axes, key, tried, trials)
        for axes in panels[len(space) :]:
            axes.remove()
        for axes in panels[::columns]:
            axes.set_ylabel("eval_score")


def _draw_panel(axes: Any, key: str, tried: Choices | Interval, trials: list[TrialRecord]) -> None:
    places = [tried.drawn_for(each.values[key]) for each in trials]
    scores = [each.eval_score for each in trials]
    axes.scatter(places, scores, s=18, color="tab:gray")
    axes.scatter(places[:1], scores[:1], s=60, color="tab:red", marker="*")
    axes.set_title(literal(key), fontsize="small")
    axes.tick_params(labelsize="small")
    if isinstance(tried, Choices):
        names = [literal(shorten(str(each), _NAME_WIDTH, placeholder="...")) for each in tried.values]
        axes.set_xticks(range(len(names)), names)
        axes.margins(x=0.2)
        return
    ends = [tried.low, tried.high]
    if tried.log:
        axes.set_xscale("log")
        # the scale's own names of its ticks would cover each other
        axes.set_xticks([], minor=True)
        axes.set_xticks([ends[0], math.sqrt(ends[0] * ends[1]), ends[1]])
        axes.xaxis.set_major_formatter("{x:.3g}")
        axes.set_xlim(ends[0] / (ends[1] / ends[0]) ** _MARGIN, ends[1] * (ends[1] / ends[0]) ** _MARGIN)
    else:
        margin = _MARGIN * (ends[1] - ends[0])
        axes.set_xlim(ends[0] - margin, ends[1] + margin)
