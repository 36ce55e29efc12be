"""Mean and deviation over seeds."""

from __future__ import annotations

import math
from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.metrics.deviation import mean_and_deviation


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=5))
def test_the_deviation_is_that_of_a_sample(values: list[float]) -> None:
    mean, deviation = mean_and_deviation(values)
    assert mean == pytest.approx(sum(values) / len(values), abs=1e-12)
    assert deviation == pytest.approx(stdev(values), abs=1e-12)


def test_one_seed_has_no_deviation_and_nan_is_not_passed_over() -> None:
    mean, deviation = mean_and_deviation([0.5])
    assert mean == 0.5
    assert math.isnan(deviation)
    assert all(math.isnan(value) for value in mean_and_deviation([0.5, math.nan]))
