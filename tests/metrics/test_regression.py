"""Pearson, Spearman and mean squared error: numbers computed by hand, and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

from mt_transformers.metrics import MeanSquaredError, Pearson, Spearman

NAN = math.nan
CORRELATIONS = [(Pearson, "pearson"), (Spearman, "spearman")]
METRICS = [*CORRELATIONS, (MeanSquaredError, "mse")]

any_float = st.floats(allow_nan=True, allow_infinity=True)


def test_pearson() -> None:
    # Deviations (-1, 0, 1) and (-1, 1, 0): 1 / (sqrt(2) * sqrt(2)).
    result = Pearson().compute(predictions=[1.0, 2.0, 3.0], references=[1.0, 3.0, 2.0])
    assert result == {"pearson": pytest.approx(0.5)}
    assert type(result["pearson"]) is float


def test_spearman_shares_the_ranks_of_equal_values() -> None:
    # Ranks (1, 2.5, 2.5, 4) and (1, 2, 3, 4); deviations (-1.5, 0, 0, 1.5) and (-1.5, -0.5, 0.5, 1.5).
    result = Spearman().compute(predictions=[1.0, 5.0, 5.0, 90.0], references=[0.1, 0.2, 0.3, 0.4])
    assert result == {"spearman": pytest.approx(4.5 / math.sqrt(4.5 * 5))}
    assert type(result["spearman"]) is float


def test_mse() -> None:
    result = MeanSquaredError().compute(predictions=[1.0, 2.0, 3.0], references=[1.0, 4.0, 4.0])
    assert result == {"mse": pytest.approx(5 / 3)}
    assert type(result["mse"]) is float


def test_several_targets_are_averaged() -> None:
    predictions = [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
    references = [[2.0, 1.0], [4.0, 3.0], [6.0, 2.0]]
    assert Pearson().compute(predictions=predictions, references=references) == {"pearson": pytest.approx(0.75)}
    assert Spearman().compute(predictions=predictions, references=references) == {"spearman": pytest.approx(0.75)}
    # (1 + 4 + 9) / 3 and (0 + 1 + 1) / 3.
    assert MeanSquaredError().compute(predictions=predictions, references=references) == {"mse": pytest.approx(8 / 3)}


@pytest.mark.parametrize(("metric", "name"), METRICS)
def test_nan_references_are_left_out_target_by_target(metric: type, name: str) -> None:
    predictions = [[1.0, 9.0], [2.0, 4.0], [7.0, 6.0], [3.0, 5.0]]
    references = [[1.0, NAN], [3.0, 4.0], [NAN, 5.0], [2.0, 7.0]]
    first = metric().compute(predictions=[1.0, 2.0, 3.0], references=[1.0, 3.0, 2.0])[name]
    second = metric().compute(predictions=[4.0, 6.0, 5.0], references=[4.0, 5.0, 7.0])[name]
    result = metric().compute(predictions=predictions, references=references)
    assert result == {name: pytest.approx((first + second) / 2)}


@pytest.mark.parametrize(("metric", "name"), CORRELATIONS)
@pytest.mark.parametrize(
    ("predictions", "references"),
    [
        ([0.1] * 7, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
        ([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]),
        ([1.0], [1.0]),
        ([1.0, 2.0], [1.0, NAN]),
        ([1.0, 2.0], [NAN, NAN]),
        ([], []),
        ([1.0, NAN, 2.0], [1.0, 2.0, 3.0]),
        ([1.0, math.inf, 2.0], [1.0, 2.0, 3.0]),
    ],
)
def test_correlation_not_defined_is_zero(
    metric: type, name: str, predictions: list[float], references: list[float]
) -> None:
    assert metric().compute(predictions=predictions, references=references) == {name: 0.0}


@pytest.mark.parametrize(("metric", "name"), CORRELATIONS)
def test_a_target_without_correlation_counts_as_zero(metric: type, name: str) -> None:
    result = metric().compute(predictions=[[1.0, 3.0], [2.0, 3.0]], references=[[5.0, 1.0], [6.0, 2.0]])
    assert result == {name: pytest.approx(0.5)}


def test_mse_leaves_out_a_target_without_references() -> None:
    result = MeanSquaredError().compute(predictions=[[1.0, 3.0], [2.0, 3.0]], references=[[2.0, NAN], [4.0, NAN]])
    assert result == {"mse": 2.5}


@pytest.mark.parametrize(
    ("predictions", "references"), [([], []), ([1.0], [NAN]), ([NAN], [1.0]), ([math.inf, 1.0], [1.0, 1.0])]
)
def test_mse_not_defined_is_infinite(predictions: list[float], references: list[float]) -> None:
    assert MeanSquaredError().compute(predictions=predictions, references=references) == {"mse": math.inf}


@pytest.mark.parametrize(("metric", "name"), METRICS)
def test_one_column_is_one_target(metric: type, name: str) -> None:
    expected = metric().compute(predictions=[1.0, 2.0, 4.0], references=[1.0, 3.0, 2.0])
    assert metric().compute(predictions=[[1.0], [2.0], [4.0]], references=[1.0, 3.0, 2.0]) == expected
    assert list(expected) == [name]


@pytest.mark.parametrize(("metric", "name"), METRICS)
def test_shapes_that_differ_are_refused(metric: type, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: expected .* found \(2,\) and \(3,\)"):
        metric().compute(predictions=[1.0, 2.0], references=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=rf"{name}: expected .* found \(1, 1, 1\) and \(1, 1, 1\)"):
        metric().compute(predictions=[[[1.0]]], references=[[[1.0]]])


@given(rows=st.lists(st.tuples(any_float, any_float), max_size=12))
def test_the_result_is_never_nan(rows: list[tuple[float, float]]) -> None:
    predictions, references = [p for p, _ in rows], [r for _, r in rows]
    for metric, name in CORRELATIONS:
        assert -1.0 <= metric().compute(predictions=predictions, references=references)[name] <= 1.0
    assert MeanSquaredError().compute(predictions=predictions, references=references)["mse"] >= 0.0


@given(rows=st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=20))
def test_correlations_are_those_of_scipy_where_it_defines_them(rows: list[tuple[int, int]]) -> None:
    predictions, references = [p for p, _ in rows], [r for _, r in rows]
    if len(set(predictions)) == 1 or len(set(references)) == 1:
        expected = (0.0, 0.0)
    else:
        expected = (pearsonr(predictions, references).statistic, spearmanr(predictions, references).statistic)
    found = (
        Pearson().compute(predictions=predictions, references=references)["pearson"],
        Spearman().compute(predictions=predictions, references=references)["spearman"],
    )
    assert found == pytest.approx(expected, abs=1e-9)


@given(
    rows=st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=20),
    scale=st.floats(0.5, 100.0),
    shift=st.floats(-100.0, 100.0),
)
def test_correlations_do_not_see_scale_and_shift(rows: list[tuple[int, int]], scale: float, shift: float) -> None:
    predictions, references = np.array([p for p, _ in rows]), np.array([r for _, r in rows])
    for metric, name in CORRELATIONS:
        before = metric().compute(predictions=predictions, references=references)[name]
        after = metric().compute(predictions=scale * predictions + shift, references=references)[name]
        assert after == pytest.approx(before, abs=1e-6)
