"""The measures, against loops that follow the papers' sums term by term."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mt_transformers.continual.measures import (
    average_accuracy,
    average_incremental_accuracy,
    backward_transfer,
    forgetting,
    forgetting_per_experience,
    forward_transfer,
)
from mt_transformers.errors import InputError

Matrix = npt.NDArray[np.float64]

NAN = math.nan
MATRIX = np.array([[0.9, 0.2, 0.1], [0.7, 0.8, 0.3], [0.5, 0.85, 0.95]])
INITIAL = np.array([0.05, 0.1, 0.15])
FRACTIONS = st.floats(0, 1)


@st.composite
def matrices(draw: st.DrawFn, smallest: int = 1) -> Matrix:
    size = draw(st.integers(smallest, 6))
    return draw(arrays(np.float64, (size, size), elements=FRACTIONS))


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else NAN


def looped(matrix: Matrix, initial: Matrix, k: int) -> dict[str, float]:
    """Each measure after experience k, term by term."""
    lost = [max(matrix[time, j] for time in range(j, k)) - matrix[k, j] for j in range(k)]
    return {
        "average_accuracy": mean([matrix[k, j] for j in range(k + 1)]),
        "average_incremental_accuracy": mean([mean([matrix[i, j] for j in range(i + 1)]) for i in range(k + 1)]),
        "forgetting": mean(lost),
        "backward_transfer": mean([matrix[k, j] - matrix[j, j] for j in range(k)]),
        "forward_transfer": mean([matrix[j - 1, j] - initial[j] for j in range(1, k + 1)]),
    }


def measured(matrix: Matrix, initial: Matrix, k: int | None) -> dict[str, float]:
    return {
        "average_accuracy": average_accuracy(matrix, k),
        "average_incremental_accuracy": average_incremental_accuracy(matrix, k),
        "forgetting": forgetting(matrix, k),
        "backward_transfer": backward_transfer(matrix, k),
        "forward_transfer": forward_transfer(matrix, initial, k),
    }


def test_a_matrix_by_hand() -> None:
    assert measured(MATRIX, INITIAL, None) == pytest.approx(
        {
            "average_accuracy": (0.5 + 0.85 + 0.95) / 3,
            "average_incremental_accuracy": (0.9 + 0.75 + 2.3 / 3) / 3,
            "forgetting": (0.4 - 0.05) / 2,
            "backward_transfer": (-0.4 + 0.05) / 2,
            "forward_transfer": (0.1 + 0.15) / 2,
        }
    )
    assert forgetting_per_experience(MATRIX).tolist() == pytest.approx([0.4, -0.05])


@given(matrices(), st.data())
def test_every_measure_equals_its_loop(matrix: Matrix, data: st.DataObject) -> None:
    initial = data.draw(arrays(np.float64, len(matrix), elements=FRACTIONS))
    for k in range(len(matrix)):
        assert measured(matrix, initial, k) == pytest.approx(looped(matrix, initial, k), nan_ok=True, abs=1e-12)
    assert measured(matrix, initial, None) == pytest.approx(measured(matrix, initial, len(matrix) - 1), nan_ok=True)


@given(matrices(smallest=2))
def test_bounds(matrix: Matrix) -> None:
    assert matrix.min() - 1e-12 <= average_accuracy(matrix) <= matrix.max() + 1e-12
    assert matrix.min() - 1e-12 <= average_incremental_accuracy(matrix) <= matrix.max() + 1e-12
    assert -1 <= forgetting(matrix) <= 1
    assert forgetting(matrix) >= -backward_transfer(matrix) - 1e-12


@given(matrices(smallest=2))
def test_forgetting_is_negated_backward_transfer_where_each_was_best_when_learnt(matrix: Matrix) -> None:
    np.fill_diagonal(matrix, 1.0)
    assert forgetting(matrix) == pytest.approx(-backward_transfer(matrix), abs=1e-12)


@given(matrices())
def test_what_comes_later_and_what_lies_above_the_diagonal_does_not_count(matrix: Matrix) -> None:
    for k in range(len(matrix)):
        blind = np.where(np.tri(len(matrix), dtype=bool), matrix, NAN)
        blind[k + 1 :] = NAN
        for measure in (average_accuracy, average_incremental_accuracy, forgetting, backward_transfer):
            assert measure(blind, k) == pytest.approx(measure(matrix, k), nan_ok=True)


def test_nothing_can_be_forgotten_or_transferred_by_one_experience() -> None:
    found = measured(np.array([[0.75]]), np.array([0.5]), None)
    assert found == pytest.approx(
        {
            "average_accuracy": 0.75,
            "average_incremental_accuracy": 0.75,
            "forgetting": NAN,
            "backward_transfer": NAN,
            "forward_transfer": NAN,
        },
        nan_ok=True,
    )
    assert forgetting_per_experience([[0.75]]).shape == (0,)


@pytest.mark.parametrize(
    ("measure", "needed"),
    [
        (average_accuracy, {(2, 0), (2, 1), (2, 2)}),
        (average_incremental_accuracy, {(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)}),
        (forgetting, {(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)}),
        (backward_transfer, {(0, 0), (1, 1), (2, 0), (2, 1)}),
        (lambda matrix: forward_transfer(matrix, INITIAL), {(0, 1), (1, 2)}),
    ],
    ids=["average", "incremental", "forgetting", "backward", "forward"],
)
def test_a_measure_is_nan_exactly_where_it_needs_what_is_nan(
    measure: Callable[[Matrix], float], needed: set[tuple[int, int]]
) -> None:
    for place in np.ndindex(3, 3):
        holed = MATRIX.copy()
        holed[place] = NAN
        assert math.isnan(measure(holed)) == (place in needed)


def test_an_unknown_initial_score_counts_only_for_what_comes_after_something() -> None:
    assert math.isnan(forward_transfer(MATRIX, [0.0, NAN, 0.0]))
    assert forward_transfer(MATRIX, [NAN, 0.1, 0.15]) == pytest.approx(0.125)
    assert forward_transfer(MATRIX, [NAN, 0.1, NAN], after=1) == pytest.approx(0.1)


@pytest.mark.parametrize("matrix", [[[0.5, 0.5]], [0.5], [], np.zeros((2, 2, 2))])
def test_a_matrix_that_is_not_square_is_refused(matrix: npt.ArrayLike) -> None:
    with pytest.raises(InputError, match="expected a row and a column for each experience, found the shape"):
        average_accuracy(matrix)


def test_an_experience_that_is_not_there_is_refused() -> None:
    for after in (-1, 3):
        with pytest.raises(InputError, match=f"expected an experience from 0 to 2, found {after}"):
            forgetting(MATRIX, after)
    with pytest.raises(InputError, match="initial: expected one score for each of 3 experiences"):
        forward_transfer(MATRIX, [0.1, 0.2])
