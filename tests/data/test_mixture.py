"""Mixtures: every option, every value that is refused, and the rows of an epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.data import Mixture
from mt_transformers.errors import InputError

SIZES = {"a": 10, "b": 4}
NAN, INF = float("nan"), float("inf")


def test_defaults() -> None:
    mixture = Mixture()
    assert mixture == Mixture(
        sampling="proportional",
        weights=None,
        temperature=1.0,
        cap=None,
        alpha=1.0,
        order="random",
        batches="mixed",
        stop=None,
        instances_per_epoch=None,
    )
    assert mixture.rows_per_epoch(SIZES) == SIZES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling": "unform"}, "unknown sampling 'unform', did you mean 'uniform'?"),
        ({"order": "roundrobin"}, "unknown order 'roundrobin', did you mean 'round_robin'?"),
        ({"batches": "homogenous"}, "unknown kind of batches 'homogenous', did you mean 'homogeneous'?"),
        ({"stop": "last"}, "unknown stop 'last'"),
        *[
            ({"sampling": "temperature", "temperature": value}, "expected a temperature above 0, found ")
            for value in (0, 0.0, -1.0, NAN, INF, "2", None)
        ],
        *[
            ({"sampling": "smoothing", "alpha": value}, "expected an alpha from 0 up, found ")
            for value in (-0.1, NAN, INF, "1", None)
        ],
        *[
            ({"sampling": "capped", "cap": value}, "needs a cap of at least 1 row, found ")
            for value in (None, 0, -3, 2.5, NAN, "7")
        ],
        ({"sampling": "weighted"}, "needs weights, one for each task"),
        ({"sampling": "weighted", "weights": {}}, "needs weights, one for each task"),
        *[
            ({"sampling": "weighted", "weights": {"a": 1.0, "b": value}}, "expected a weight from 0 up for task 'b'")
            for value in (-1.0, NAN, INF, "1", None)
        ],
        ({"weights": {"a": 1.0}}, "weights belongs to sampling 'weighted', found 'proportional'"),
        ({"sampling": "smoothing", "temperature": 2.0}, "temperature belongs to sampling 'temperature', found"),
        ({"sampling": "uniform", "cap": 5}, "cap belongs to sampling 'capped', found 'uniform'"),
        ({"sampling": "temperature", "alpha": 0.5}, "alpha belongs to sampling 'smoothing', found 'temperature'"),
        ({"stop": "all", "instances_per_epoch": 10}, "either stop or instances_per_epoch, not both"),
    ],
)
def test_values_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Mixture(**options)
    assert message in str(caught.value)


@pytest.mark.parametrize("sampling", ["proportional", "uniform"])
def test_all_is_every_row_once(sampling: str) -> None:
    assert Mixture(sampling=sampling, stop="all").rows_per_epoch(SIZES) == SIZES


@pytest.mark.parametrize("stop", ["all", "first", "longest"])
def test_proportional_ends_alike(stop: Any) -> None:
    assert Mixture(stop=stop).rows_per_epoch({"a": 10, "b": 3, "c": 7}) == {"a": 10, "b": 3, "c": 7}


@pytest.mark.parametrize(
    ("options", "sizes", "first", "longest"),
    [
        ({"sampling": "uniform"}, (10, 4), (4, 4), (10, 10)),
        # shares 1/3 and 2/3: b is used up after 6 rows, a after 30
        ({"sampling": "weighted", "weights": {"a": 1, "b": 2}}, (10, 4), (2, 4), (10, 20)),
        # a task of weight 0 has no row, and does not hold up the end
        ({"sampling": "weighted", "weights": {"a": 1, "b": 0}}, (10, 4), (10, 0), (10, 0)),
        # shares 2/3 and 1/3
        ({"sampling": "temperature", "temperature": 2.0}, (16, 4), (8, 4), (16, 8)),
        ({"sampling": "smoothing", "alpha": 0.5}, (16, 4), (8, 4), (16, 8)),
        # shares 5/9 and 4/9
        ({"sampling": "capped", "cap": 5}, (10, 4), (5, 4), (10, 8)),
    ],
)
def test_first_and_longest(options: dict[str, Any], sizes: tuple, first: tuple, longest: tuple) -> None:
    given_sizes = dict(zip("ab", sizes, strict=True))
    assert Mixture(stop="first", **options).rows_per_epoch(given_sizes) == dict(zip("ab", first, strict=True))
    assert Mixture(stop="longest", **options).rows_per_epoch(given_sizes) == dict(zip("ab", longest, strict=True))
    assert Mixture(**options).rows_per_epoch(given_sizes) == dict(zip("ab", longest, strict=True))


@given(
    sizes=st.lists(st.integers(1, 10_000), min_size=1, max_size=5),
    weights=st.lists(st.floats(0.1, 10), min_size=5, max_size=5),
)
def test_first_repeats_no_row_and_longest_misses_none(sizes: list[int], weights: list[float]) -> None:
    by_name = dict(zip("abcde", sizes, strict=False))
    options = {"sampling": "weighted", "weights": dict(zip(by_name, weights, strict=False))}
    longest = Mixture(stop="longest", **options).rows_per_epoch(by_name)
    assert all(longest[name] >= size for name, size in by_name.items())
    assert any(longest[name] == size for name, size in by_name.items())
    try:
        first = Mixture(stop="first", **options).rows_per_epoch(by_name)
    except InputError:
        return  # a share of less than a row
    assert all(first[name] <= size for name, size in by_name.items())
    assert any(first[name] == size for name, size in by_name.items())


@pytest.mark.parametrize(
    ("sampling", "instances", "sizes", "expected"),
    [
        ("uniform", 7, (10, 4), (3, 3)),
        ("proportional", 7, (10, 4), (5, 2)),
        ("proportional", 28, (10, 4), (20, 8)),
        # a third of 3 rows is one row, whatever the last bit says
        ("uniform", 3, (10, 4, 5), (1, 1, 1)),
        ("uniform", 2, (10, 4), (1, 1)),
    ],
)
def test_instances_per_epoch(sampling: str, instances: int, sizes: tuple, expected: tuple) -> None:
    mixture = Mixture(sampling=sampling, instances_per_epoch=instances)
    rows = mixture.rows_per_epoch(dict(zip("abc", sizes, strict=False)))
    assert rows == dict(zip("abc", expected, strict=False))


@pytest.mark.parametrize("instances", [1, 0, -5])
def test_fewer_instances_than_tasks(instances: int) -> None:
    with pytest.raises(InputError, match=f"instances_per_epoch is {instances}, expected at least one row for each of"):
        Mixture(sampling="uniform", instances_per_epoch=instances).rows_per_epoch(SIZES)


@pytest.mark.parametrize("instances", ["10", 10.5, NAN])
def test_instances_that_are_no_number_of_rows(instances: Any) -> None:
    with pytest.raises(InputError, match="instances_per_epoch"):
        Mixture(instances_per_epoch=instances).rows_per_epoch(SIZES)


def test_a_task_without_a_row_is_refused() -> None:
    with pytest.raises(InputError, match=r"task 'b' has a share of 0\.01, which is no row of 10"):
        Mixture(instances_per_epoch=10).rows_per_epoch({"a": 99, "b": 1})


@pytest.mark.parametrize("stop", ["all", "first", "longest"])
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1, "b": 1, "bb": 1}, "unknown task 'bb', did you mean 'b'?"),
        ({"a": 1}, "expected a weight for each task, not all of them 0; found none for 'b'"),
        ({"a": 0, "b": 0.0}, "expected a weight for each task, not all of them 0; found only zeros"),
    ],
)
def test_weights_must_be_those_of_the_tasks(weights: dict[str, float], message: str, stop: Any) -> None:
    mixture = Mixture(sampling="weighted", weights=weights, stop=stop)
    with pytest.raises(InputError) as caught:
        mixture.rows_per_epoch(SIZES)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [10 / 14, 4 / 14]),
        ({"sampling": "uniform"}, [0.5, 0.5]),
        ({"sampling": "weighted", "weights": {"b": 3, "a": 1}}, [0.25, 0.75]),
        ({"sampling": "temperature", "temperature": 0.5}, [100 / 116, 16 / 116]),
        ({"sampling": "capped", "cap": 6}, [0.6, 0.4]),
        ({"sampling": "smoothing", "alpha": 2.0}, [100 / 116, 16 / 116]),
    ],
)
def test_shares(options: dict[str, Any], expected: list[float]) -> None:
    assert Mixture(**options).shares(SIZES) == dict(zip("ab", map(pytest.approx, expected), strict=True))


@pytest.mark.parametrize(("order", "expected"), [("round_robin", [0, 1, 0, 1, 0]), ("sequential", [0, 0, 0, 1, 1])])
def test_schedule_is_that_of_the_order(order: str, expected: list[int]) -> None:
    schedule = Mixture(order=order).schedule(np.array([3, 2]), np.random.default_rng(0))
    assert schedule.tolist() == expected
