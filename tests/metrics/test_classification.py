"""Accuracy, F1 and Matthews correlation: numbers computed by hand, and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.metrics import F1, Accuracy, MatthewsCorrelation

# Class 0: tp 1, fp 1, fn 1; class 1: tp 2, fp 1, fn 0; class 2: tp 0, fp 0, fn 1. F1: 1/2, 4/5, 0.
PREDICTIONS = [0, 0, 1, 1, 1]
REFERENCES = [0, 2, 1, 1, 0]

# Column 0: tp 2, fp 1, fn 0; column 1: tp 0, fp 1, fn 1; column 2: no positive at all. F1: 4/5, 0, 0.
MATRIX_PREDICTIONS = [[1, 0, 0], [1, 1, 0], [1, 0, 0]]
MATRIX_REFERENCES = [[1, 0, 0], [1, 0, 0], [0, 1, 0]]

class_ids = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30)
matrices = st.integers(1, 4).flatmap(
    lambda labels: st.lists(st.lists(st.integers(0, 1), min_size=labels, max_size=labels), min_size=1, max_size=15)
)


def test_accuracy_of_class_ids() -> None:
    assert Accuracy().compute(predictions=PREDICTIONS, references=REFERENCES) == {"accuracy": 0.6}


def test_accuracy_of_a_matrix_is_the_subset_accuracy() -> None:
    result = Accuracy(multilabel=True).compute(predictions=MATRIX_PREDICTIONS, references=MATRIX_REFERENCES)
    assert result == {"accuracy": pytest.approx(1 / 3)}


@pytest.mark.parametrize(
    ("average", "name", "expected"),
    [
        ("macro", "f1_macro", 1.3 / 3),
        ("micro", "f1_micro", 0.6),
        ("weighted", "f1_weighted", (2 * 0.5 + 2 * 0.8 + 1 * 0.0) / 5),
        (0, "f1_class_0", 0.5),
        (1, "f1_class_1", 0.8),
        (2, "f1_class_2", 0.0),
        (7, "f1_class_7", 0.0),
    ],
)
def test_f1_of_class_ids(average: str | int, name: str, expected: float) -> None:
    result = F1(average).compute(predictions=PREDICTIONS, references=REFERENCES)
    assert result == {name: pytest.approx(expected)}
    assert type(result[name]) is float


@pytest.mark.parametrize(
    ("average", "labels", "expected"),
    [
        ("macro", [1], 0.8),
        ("micro", [1], 0.8),
        ("weighted", [1], 0.8),
        ("macro", [0, 2, 9], 0.5 / 3),
        ("micro", [0, 2], 2 / (2 + 1 + 2)),
        ("weighted", [1, 2], 2 * 0.8 / 3),
    ],
)
def test_f1_over_some_labels(average: str, labels: list[int], expected: float) -> None:
    result = F1(average, labels=labels).compute(predictions=PREDICTIONS, references=REFERENCES)
    assert result == {f"f1_{average}": pytest.approx(expected)}
    as_matrix = [[[int(one == label) for label in range(10)] for one in ids] for ids in (PREDICTIONS, REFERENCES)]
    several = F1(average, multilabel=True, labels=labels)
    assert several.compute(predictions=as_matrix[0], references=as_matrix[1]) == result


def test_f1_of_the_only_column() -> None:
    assert F1(multilabel=True, labels=[0]).compute(predictions=[[1], [1]], references=[[1], [0]]) == {
        "f1_macro": pytest.approx(2 / 3)
    }


def test_f1_of_one_class_takes_no_labels() -> None:
    with pytest.raises(ValueError, match=r"F1: labels: expected none beside the class 1, found \[0\]"):
        F1(1, labels=[0])


@pytest.mark.parametrize(
    ("average", "name", "expected"),
    [
        ("macro", "f1_macro", 0.8 / 3),
        ("micro", "f1_micro", 2 * 2 / (2 * 2 + 2 + 1)),
        ("weighted", "f1_weighted", (2 * 0.8 + 1 * 0.0 + 0 * 0.0) / 3),
        (0, "f1_class_0", 0.8),
        (2, "f1_class_2", 0.0),
    ],
)
def test_f1_of_a_matrix(average: str | int, name: str, expected: float) -> None:
    result = F1(average, multilabel=True).compute(predictions=MATRIX_PREDICTIONS, references=MATRIX_REFERENCES)
    assert result == {name: pytest.approx(expected)}


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", 0])
def test_a_matrix_of_one_column_is_one_label(average: str | int) -> None:
    # tp 2, fp 1, fn 0; scikit-learn by itself would average with the F1 of "not this label", which is 0 here.
    (value,) = F1(average, multilabel=True).compute(predictions=[[1], [1], [1]], references=[[1], [1], [0]]).values()
    assert value == pytest.approx(0.8)
    assert Accuracy(multilabel=True).compute(predictions=[[1], [1]], references=[[1], [0]]) == {"accuracy": 0.5}


def test_matthews_correlation_of_two_classes() -> None:
    # tp 2, tn 1, fp 1, fn 0: (2*1 - 1*0) / sqrt(3 * 2 * 2 * 1).
    result = MatthewsCorrelation().compute(predictions=[1, 0, 1, 1], references=[1, 0, 1, 0])
    assert result == {"matthews_correlation": pytest.approx(2 / math.sqrt(12))}


def test_matthews_correlation_of_three_classes() -> None:
    # Gorodkin: c 3 of s 5; predicted (2, 3, 0), true (2, 2, 1): (3*5 - 10) / sqrt((25 - 13) * (25 - 9)).
    result = MatthewsCorrelation().compute(predictions=PREDICTIONS, references=REFERENCES)
    assert result == {"matthews_correlation": pytest.approx(5 / math.sqrt(12 * 16))}


@pytest.mark.parametrize(
    ("predictions", "references"), [([1, 1], [1, 1]), ([0, 0], [0, 1]), ([0, 1], [1, 1]), ([], [])]
)
def test_matthews_correlation_not_defined_is_zero(predictions: list[int], references: list[int]) -> None:
    result = MatthewsCorrelation().compute(predictions=predictions, references=references)
    assert result == {"matthews_correlation": 0.0}


@pytest.mark.parametrize("multilabel", [False, True])
def test_no_rows_give_zero(multilabel: bool) -> None:
    assert Accuracy(multilabel).compute(predictions=[], references=[]) == {"accuracy": 0.0}
    assert F1("macro", multilabel).compute(predictions=[], references=[]) == {"f1_macro": 0.0}
    assert F1(0, multilabel).compute(predictions=[], references=[]) == {"f1_class_0": 0.0}


@pytest.mark.parametrize(
    ("multilabel", "predictions", "references", "message"),
    [
        (False, [1, 2], [1], r"accuracy: expected .* one shape, found \(2,\) and \(1,\)"),
        (False, [[1, 0]], [[1, 0]], r"accuracy: predictions: expected shape \(rows,\), found \(1, 2\)"),
        (True, [1, 0], [1, 0], r"accuracy: predictions: expected shape \(rows, labels\), found \(2,\)"),
        (False, [1.0, 0.5], [1, 0], "accuracy: predictions: expected whole numbers, found float64"),
        (False, [1, 0], [1.0, math.inf], "accuracy: references: expected whole numbers, found float64"),
        (False, ["a"], ["a"], "accuracy: predictions: expected whole numbers, found <U1"),
        (True, [[1, 0]], [[1, -100]], "accuracy: references: expected only 0 and 1, found values from -100 to 1"),
    ],
)
def test_input_that_does_not_fit_is_refused(
    multilabel: bool, predictions: list[object], references: list[object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Accuracy(multilabel).compute(predictions=predictions, references=references)


@pytest.mark.parametrize("average", ["binary", "samples", None, True, 1.0])
def test_unknown_average_is_refused(average: str) -> None:
    with pytest.raises(ValueError, match="F1: average: expected one of macro, micro, weighted or a class id, found"):
        F1(average)


def test_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="f1_class_2: expected a matrix with a column 2, found 2 columns"):
        F1(2, multilabel=True).compute(predictions=[[1, 0]], references=[[1, 0]])


@given(ids=st.lists(st.integers(-3, 3), min_size=1, max_size=20))
def test_identical_class_ids_are_perfect(ids: list[int]) -> None:
    assert Accuracy().compute(predictions=ids, references=ids) == {"accuracy": 1.0}
    for average in ("macro", "micro", "weighted", ids[0]):
        (value,) = F1(average).compute(predictions=ids, references=ids).values()
        assert value == pytest.approx(1.0)


@given(matrix=matrices)
def test_identical_matrices_are_perfect(matrix: list[list[int]]) -> None:
    assert Accuracy(multilabel=True).compute(predictions=matrix, references=matrix) == {"accuracy": 1.0}
    result = F1("micro", multilabel=True).compute(predictions=matrix, references=matrix)
    assert result == {"f1_micro": 1.0 if np.any(matrix) else 0.0}


@given(rows=class_ids, data=st.data())
def test_row_order_does_not_matter(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rows))
    for metric in (Accuracy(), F1("macro"), F1("micro"), F1("weighted"), F1(2), MatthewsCorrelation()):
        (before,) = metric.compute(predictions=[p for p, _ in rows], references=[r for _, r in rows]).values()
        (after,) = metric.compute(predictions=[p for p, _ in shuffled], references=[r for _, r in shuffled]).values()
        assert after == pytest.approx(before, abs=1e-12)


@given(rows=class_ids)
def test_micro_f1_of_class_ids_is_the_accuracy(rows: list[tuple[int, int]]) -> None:
    predictions, references = [p for p, _ in rows], [r for _, r in rows]
    accuracy = Accuracy().compute(predictions=predictions, references=references)["accuracy"]
    assert F1("micro").compute(predictions=predictions, references=references)["f1_micro"] == pytest.approx(accuracy)
