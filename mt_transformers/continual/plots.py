"""Pictures of results: the scores of one run, and the course of strategies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..metrics.deviation import mean_and_deviation
from ..pictures import literal, picture
from .measures import average_accuracy
from .results import ContinualResults
from .seeds import runs_by_strategy

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = ["draw_curves", "draw_matrix"]

_NUMBERED = 15
"""Experiences up to which the scores are written into the cells."""
_NAMED = 40
"""Experiences up to which each has its name on an axis."""
_NAME_LENGTH = 24
"""Length to which names are cut (characters)."""

_BOUNDS = {"naive": ("#000000", "v"), "joint": ("#767676", "^")}
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "D", "P", "X", "*", "<", ">", "h", "p", "d", "8", "H")
_LINES = ("-", "-.", ":")


def draw_matrix(results: ContinualResults, file: str | Path) -> None:
    """
    Draw all scores of a run as a heat map; what was not measured stays empty.

    A line parts the experiences that were learnt from those that were not yet. Up to 15 experiences the scores are
    written into the cells, in percent.

    Source: the colors, cividis, are those of Nunez et al. (2018), https://doi.org/10.1371/journal.pone.0199239, which
    look the same to readers with a color vision deficiency.

    Args:
        results ([`ContinualResults`]): The run.
        file (`str` or `Path`): A `.png`, `.svg` or `.pdf` file; it appears whole or not at all.

    Raises:
        InputError: If matplotlib is not installed, the file has another ending, or it cannot be written.

    Example:
        A run that was saved::

            draw_matrix(ContinualResults.load("out"), "out/matrix.png")
    """
    count = len(results.experiences)
    side = min(max(0.5 * count, 2), 12)
    margin = _name_room(results.experiences)
    with picture(Path(file), (side + 1.8 + margin, side + 0.8 + margin), "continual") as figure:
        axes = figure.subplots()
        percent = 100 * results.matrix
        lowest = float(np.nanmin(percent, initial=0))
        image = axes.imshow(np.ma.masked_invalid(percent), cmap="cividis", vmin=lowest, vmax=100)
        axes.spines[:].set_visible(False)
        edges = np.arange(count + 1) - 0.5
        axes.step(edges, edges, where="post", color="#D55E00", linewidth=1.5)
        axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
        axes.set(xlabel="score on", ylabel="after", title=literal(f"{results.strategy}, {results.scenario}"))
        _name(axes.xaxis, results.experiences)
        _name(axes.yaxis, results.experiences)
        if count <= _NUMBERED:
            for (i, j), value in np.ndenumerate(percent):
                if not math.isnan(value):
                    color = "white" if 2 * value < lowest + 100 else "black"
                    axes.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=8, color=color)
        figure.colorbar(image, label="score (%)", shrink=0.8)


def draw_curves(results: Sequence[ContinualResults], file: str | Path) -> None:
    """
    Draw the average accuracy of strategies after each experience.

    `naive` and `joint`, the bounds between which a strategy is expected, are dashed. Runs of one strategy are joined:
    a line for their mean, a band of one sample standard deviation to either side. A strategy that was measured only
    after the last experience, because it learnt all at once, is a level line.

    Source: the colors are those of Okabe and Ito (2008), https://jfly.uni-koeln.de/color/, which readers with a color
    vision deficiency tell apart; each strategy has a marker of its own, too.

    Args:
        results (`Sequence[ContinualResults]`): Runs over one scenario.
        file (`str` or `Path`): A `.png`, `.svg` or `.pdf` file; it appears whole or not at all.

    Raises:
        InputError: If there is no run, the scenarios or their experiences differ, matplotlib is not installed, the
            file has another ending, or it cannot be written.

    Example:
        Runs that were saved::

            draw_curves([ContinualResults.load(each) for each in ("out/naive", "out/er")], "curves.png")
    """
    runs = runs_by_strategy(results)
    first = results[0]
    same_order = all(each.experiences == first.experiences for each in results)
    count = len(first.experiences)
    names = first.experiences if same_order else [str(number + 1) for number in range(count)]
    size = (min(max(0.5 * count, 5), 10) + 2, max(3.5 + _name_room(names), 0.5 + 0.23 * len(runs)))
    with picture(Path(file), size, "continual") as figure:
        axes = figure.subplots()
        for (name, each), style in zip(runs.items(), _styles(list(runs)), strict=True):
            _draw_curve(axes, name, each, style)
        axes.set(xlabel="after", ylabel="average accuracy (%)", title=literal(first.scenario))
        axes.set_xlim(-0.25, count - 0.75)
        axes.grid(alpha=0.3)
        _name(axes.xaxis, names)
        figure.legend(loc="outside right upper", frameon=False)


@dataclass(frozen=True)
class _Style:
    """What a curve is told by."""

    color: str
    marker: str
    line: str


def _styles(names: Sequence[str]) -> list[_Style]:
    """For each strategy a style; up to 13 that are no bounds have a marker of their own."""
    others = [name for name in names if name not in _BOUNDS]
    styles = {name: _Style(color, marker, "--") for name, (color, marker) in _BOUNDS.items()}
    for number, name in enumerate(others):
        line = _LINES[number // len(_COLORS) % len(_LINES)]
        styles[name] = _Style(_COLORS[number % len(_COLORS)], _MARKERS[number % len(_MARKERS)], line)
    return [styles[name] for name in names]


def _draw_curve(axes: Axes, name: str, runs: Sequence[ContinualResults], style: _Style) -> None:
    curves = np.stack([_curve(run) for run in runs])
    # (experiences,) each
    means, deviations = np.array([mean_and_deviation(column.tolist()) for column in curves.T]).T
    label = literal(name) + (f" ({len(runs)} runs)" if len(runs) > 1 else "")
    numbers = np.arange(len(means))
    axes.plot(
        numbers,
        means,
        color=style.color,
        marker=style.marker,
        linestyle=style.line,
        markersize=5,
        markevery=math.ceil(len(means) / _NAMED),
        label=label,
        zorder=3 if name in _BOUNDS else 2,
    )
    if len(runs) > 1:
        axes.fill_between(
            numbers, means - deviations, means + deviations, color=style.color, alpha=0.15, linewidth=0, zorder=1
        )


def _curve(run: ContinualResults) -> npt.NDArray[np.float64]:
    """Average accuracy after each experience (percent); level if only the last was measured."""
    count = len(run.experiences)
    curve = 100 * np.array([average_accuracy(run.matrix, after) for after in range(count)])
    return np.full(count, curve[-1]) if np.isnan(curve[:-1]).all() else curve


def _shown(names: Sequence[str]) -> list[str]:
    """Names as they stand along an axis: cut, and thinned out where there are very many."""
    step = math.ceil(len(names) / _NAMED)
    cut = [name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…" for name in names]
    return cut[::step]


def _name_room(names: Sequence[str]) -> float:
    """Room that names take beside an axis (inches)."""
    return 0.08 * max(map(len, _shown(names)))


def _name(axis: Axis, names: Sequence[str]) -> None:
    """Put the names along an axis; those below it are turned where they are long."""
    shown = _shown(names)
    axis.set_ticks(range(0, len(names), math.ceil(len(names) / _NAMED)), [literal(name) for name in shown])
    if axis is axis.axes.xaxis and max(map(len, shown)) > 4:
        for label in axis.get_ticklabels():
            label.set(rotation=45 if len(shown) <= 8 else 90, ha="right", va="center", rotation_mode="anchor")
