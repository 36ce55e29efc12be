"""Pictures, looked at as matplotlib's own objects and as the pixels that are written."""

from __future__ import annotations

import math
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mt_transformers.continual.plots import draw_curves, draw_matrix
from mt_transformers.continual.results import ContinualResults
from mt_transformers.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Without it only the error is tested.
needs_matplotlib = pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs matplotlib")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are written, as they are written."""
    from matplotlib.figure import Figure

    found: list[Figure] = []
    write = Figure.savefig

    def noting(figure: Figure, *args: Any, **kwargs: Any) -> None:
        found.append(figure)
        write(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", noting)
    return found


def run(strategy: str, count: int, share: float = 0.9, names: list[str] | None = None) -> ContinualResults:
    """A run that keeps a share of each score with each further experience, and never measures what is to come."""
    results = ContinualResults.begin(
        strategy=strategy, scenario="class_incremental", experiences=names or [f"part {i}" for i in range(count)]
    )
    for i in range(count):
        results.record(i, {j: share ** (i - j) for j in range(i + 1)})
    return results


def joint(count: int, score: float) -> ContinualResults:
    results = run("joint", count)
    results.matrix[:-1] = math.nan
    results.matrix[-1] = score
    return results


def pixels(file: Path) -> np.ndarray:
    from matplotlib.image import imread

    return np.asarray(imread(file))


@needs_matplotlib
def test_the_matrix_is_a_png_with_the_scores_in_its_cells(tmp_path: Path, figures: list[Figure]) -> None:
    draw_matrix(run("er", 3, 0.5), tmp_path / "made" / "matrix.png")
    assert (tmp_path / "made/matrix.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["matrix.png"]
    axes = figures[0].axes[0]
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "100", (0, 1): "50", (0, 2): "25", (1, 1): "100", (1, 2): "50", (2, 2): "100"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["part 0", "part 1", "part 2"]
    assert axes.get_title() == "er, class_incremental"


@needs_matplotlib
def test_what_was_not_measured_stays_empty(tmp_path: Path, figures: list[Figure]) -> None:
    results = run("er", 4)
    results.matrix[0, 3] = 0.0
    draw_matrix(results, tmp_path / "matrix.png")
    axes = figures[0].axes[0]
    picture = pixels(tmp_path / "matrix.png")
    for i, j in np.ndindex(4, 4):
        # beside the number in the middle of the cell
        column, row = axes.transData.transform((j + 0.3, i + 0.3)) * 150 / figures[0].dpi
        color = picture[picture.shape[0] - round(row), round(column), :3]
        assert (color == 1).all() == math.isnan(results.matrix[i, j]), (i, j)


@needs_matplotlib
def test_the_line_parts_what_was_learnt_from_what_was_not(tmp_path: Path, figures: list[Figure]) -> None:
    draw_matrix(run("er", 3), tmp_path / "matrix.png")
    (line,) = figures[0].axes[0].lines
    assert line.get_drawstyle() == "steps-post"
    assert line.get_xydata().tolist() == [[-0.5, -0.5], [0.5, 0.5], [1.5, 1.5], [2.5, 2.5]]


@needs_matplotlib
@pytest.mark.parametrize(("count", "numbered"), [(15, True), (16, False), (90, False)])
def test_many_experiences_are_not_crowded(tmp_path: Path, figures: list[Figure], count: int, numbered: bool) -> None:
    draw_matrix(run("er", count), tmp_path / "matrix.png")
    axes = figures[0].axes[0]
    assert bool(axes.texts) == numbered
    assert len(axes.get_xticks()) <= 40
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert not any(left.overlaps(right) for left, right in pairwise(boxes))


@needs_matplotlib
def test_negative_scores_widen_the_scale(tmp_path: Path, figures: list[Figure]) -> None:
    results = run("er", 2)
    results.matrix[1, 0] = -0.25
    draw_matrix(results, tmp_path / "matrix.png")
    assert figures[0].axes[0].images[0].get_clim() == (-25, 100)


@needs_matplotlib
def test_a_run_without_scores_and_one_of_one_experience_are_drawn(tmp_path: Path, figures: list[Figure]) -> None:
    empty = ContinualResults.begin(strategy="er", scenario="s", experiences=["a", "b"])
    for results in (empty, run("er", 1)):
        draw_matrix(results, tmp_path / "matrix.png")
        draw_curves([results], tmp_path / "curves.png")
    assert [len(figure.axes[0].texts) for figure in figures[::2]] == [0, 1]


@needs_matplotlib
def test_curves_of_seeds_are_their_mean_with_a_band(tmp_path: Path, figures: list[Figure]) -> None:
    draw_curves([run("er", 2, 0.5), run("er", 2, 0.7), run("ewc", 2, 1.0)], tmp_path / "curves.png")
    axes = figures[0].axes[0]
    assert [line.get_label() for line in axes.lines] == ["er (2 runs)", "ewc"]
    assert axes.lines[0].get_ydata() == pytest.approx([100, 80])
    assert axes.lines[1].get_ydata() == pytest.approx([100, 100])
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    # averages of 75 and 85 percent
    deviation = 50**0.5
    assert (heights.min(), heights.max()) == pytest.approx((80 - deviation, 100))


@needs_matplotlib
def test_the_bounds_are_dashed_and_no_other_is(tmp_path: Path, figures: list[Figure]) -> None:
    strategies = ["naive", "joint", *(f"strategy {number}" for number in range(13))]
    draw_curves([run(name, 15, 0.8 + 0.01 * number) for number, name in enumerate(strategies)], tmp_path / "c.png")
    figure = figures[0]
    lines = figure.axes[0].lines
    assert [line.get_linestyle() == "--" for line in lines] == [True, True, *[False] * 13]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 15
    assert len({line.get_marker() for line in lines}) == 15
    (legend,) = figure.legends
    boxes = [text.get_window_extent() for text in legend.get_texts()]
    assert [text.get_text() for text in legend.get_texts()] == strategies
    assert not any(upper.overlaps(lower) for upper, lower in pairwise(boxes))
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())
    assert figure.bbox.containsx(legend.get_window_extent().x1)
    assert figure.bbox.y0 <= legend.get_window_extent().y0


@needs_matplotlib
def test_what_learnt_all_at_once_is_level(tmp_path: Path, figures: list[Figure]) -> None:
    draw_curves([joint(3, 0.9), run("er", 3)], tmp_path / "curves.png")
    assert figures[0].axes[0].lines[0].get_ydata() == pytest.approx([90, 90, 90])


@needs_matplotlib
def test_an_unfinished_run_ends_where_it_stands(tmp_path: Path, figures: list[Figure]) -> None:
    results = run("er", 3, 0.5)
    results.matrix[2] = math.nan
    draw_curves([results], tmp_path / "curves.png")
    assert figures[0].axes[0].lines[0].get_ydata() == pytest.approx([100, 75, math.nan], nan_ok=True)


@needs_matplotlib
def test_experiences_in_another_order_are_counted(tmp_path: Path, figures: list[Figure]) -> None:
    draw_curves([run("er", 2, names=["a", "b"]), run("er", 2, names=["b", "a"])], tmp_path / "curves.png")
    draw_curves([run("er", 2, names=["a", "b"])], tmp_path / "curves.png")
    labels = [[label.get_text() for label in figure.axes[0].get_xticklabels()] for figure in figures]
    assert labels == [["1", "2"], ["a", "b"]]


@needs_matplotlib
def test_names_are_no_formulas_and_long_ones_are_cut(tmp_path: Path, figures: list[Figure]) -> None:
    draw_matrix(run("$x", 2, names=[r"$\frac$", "n" * 40]), tmp_path / "matrix.png")
    axes = figures[0].axes[0]
    assert axes.get_title() == r"\$x, class_incremental"
    assert [label.get_text() for label in axes.get_xticklabels()] == [r"\$\frac\$", "n" * 23 + "…"]


@needs_matplotlib
def test_other_endings_are_written_as_they_say_or_refused(tmp_path: Path) -> None:
    draw_curves([run("er", 2)], tmp_path / "curves.pdf")
    draw_curves([run("er", 2)], tmp_path / "curves.SVG")
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")
    assert b"<svg" in (tmp_path / "curves.SVG").read_bytes()[:1000]
    for name in ("curves.gif", "curves"):
        with pytest.raises(InputError, match="unknown ending"):
            draw_curves([run("er", 2)], tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 2


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for draw in (lambda file: draw_matrix(run("er", 2), file), lambda file: draw_curves([run("er", 2)], file)):
        with pytest.raises(InputError, match=r'pip install "mt_transformers\[continual\]"'):
            draw(tmp_path / "picture.png")
    assert not list(tmp_path.iterdir())


def test_what_does_not_compare_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the same experiences"):
        draw_curves([run("er", 2), run("ewc", 3)], tmp_path / "curves.png")
