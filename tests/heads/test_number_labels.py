"""Numbers as labels: what is none, what is refused, and how the message says it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from datasets import ClassLabel, List, Value

from mt_transformers.errors import InputError
from mt_transformers.heads import LabelSource
from mt_transformers.heads.number_labels import read_numbers


def source(feature: Any = None) -> LabelSource:
    return LabelSource("stsb", "score", feature or Value("float32"), list)


def test_numbers_and_what_is_none() -> None:
    found = read_numbers([1, None, 2.5, math.nan, -3], source(), range(5))
    assert [number for number in found if not math.isnan(number)] == [1.0, 2.5, -3.0]
    assert [math.isnan(number) for number in found] == [False, True, False, True, False]
    assert all(type(number) is float for number in found)


def test_both_ends_belong_to_the_range() -> None:
    assert read_numbers([0, 5, 2], source(), range(3), minimum=0.0, maximum=5.0) == [0.0, 5.0, 2.0]


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (math.inf, {}, "a finite number, found inf"),
        (-math.inf, {}, "a finite number, found -inf"),
        (-0.5, {"minimum": 0.0}, "a finite number from 0 up, found -0.5"),
        (5.5, {"maximum": 5.0}, "a finite number up to 5, found 5.5"),
        (5.5, {"minimum": 0.5, "maximum": 5.0}, "a finite number from 0.5 up to 5, found 5.5"),
        (math.inf, {"minimum": 0.0}, "a finite number from 0 up, found inf"),
    ],
)
def test_bad_numbers_name_task_column_row_and_value(value: float, limits: dict[str, float], message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_numbers([1.0, value], source(), [7, 8], **limits)
    assert str(caught.value) == f"task 'stsb', column 'score', row 8: expected {message}."


@pytest.mark.parametrize("feature", [Value("string"), Value("bool"), List(Value("float32")), ClassLabel(names=["a"])])
def test_columns_that_hold_no_numbers(feature: Any) -> None:
    with pytest.raises(InputError, match=r"^task 'stsb', column 'score': expected a number a row, found "):
        read_numbers([], source(feature), [])


@pytest.mark.parametrize("dtype", ["int64", "float64", "uint8"])
def test_columns_that_hold_numbers(dtype: str) -> None:
    assert read_numbers([1], source(Value(dtype)), [0]) == [1.0]
