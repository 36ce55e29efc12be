"""Labels of a whole column at a time: the same ids as one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from continual.answers import COLUMNS, NAMES, labelled, letter_heads, task_of
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.continual.label_rows import distinct_values, name_labels, read_label_ids, rows_by_group
from mt_transformers.errors import InputError
from mt_transformers.heads import EncodedRows, LabelSource, SequenceClassificationHeadConfig


def config_of(**fields: Any) -> SequenceClassificationHeadConfig:
    found = letter_heads(**fields)["letter"]
    assert isinstance(found, SequenceClassificationHeadConfig)
    return found


def read(rows: Dataset, **fields: Any) -> list[int]:
    return read_label_ids("alphabet", task_of(train=rows), "letter", config_of(**fields), "train").tolist()


@pytest.mark.parametrize("column", COLUMNS)
def test_labels_become_ids_by_name(column: str) -> None:
    rows = labelled([3, None, 0, 3, -1, 1], column)
    assert read(rows) == [3, -100, 0, 3, -100, 1]
    if column != "numbers":
        assert read(rows, id2label=NAMES[::-1]) == [0, -100, 3, 0, -100, 2]


def test_rows_that_were_selected_are_read_in_their_order() -> None:
    rows = labelled([3, 2, 1, 0]).select([2, 0, 0])
    assert read(rows) == [1, 3, 3]


def test_a_format_does_not_matter() -> None:
    assert read(labelled([3, 2, 1]).with_format("numpy")) == [3, 2, 1]


def test_true_and_false_are_numbers() -> None:
    rows = Dataset.from_dict({"text": ["x", "y"], "label": [True, False]})
    assert read(rows, id2label=["no", "yes"]) == [1, 0]


@given(st.lists(st.one_of(st.none(), st.integers(-1, 3)), min_size=1), st.sampled_from(COLUMNS))
def test_the_ids_are_those_that_the_head_encodes(labels: list[int | None], column: str) -> None:
    rows, config = labelled(labels, column), config_of()
    source = LabelSource("alphabet", "label", rows.features["label"], list)
    expected = config.encode_labels(rows["label"][:], source, EncodedRows(range(len(rows))))
    assert read(rows) == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (labelled([0, 1, 1, 0], names=["a", "z"]), "split 'train', task 'alphabet', column 'label', row 1: label 'z'"),
        (labelled([0, 1], "text", names=["a", "z"]), "column 'label', row 1: label 'z' is not among the head's 4"),
        (
            labelled([0, 4], "numbers"),
            "split 'train', task 'alphabet', column 'label', row 1: label 4 is out of range",
        ),
        (labelled([0, 0, -3], "numbers"), "row 2: label -3 is out of range"),
    ],
)
def test_the_first_wrong_row_is_named(rows: Dataset, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(rows)


@given(st.lists(st.integers(-1, 4)), st.integers(5, 7))
def test_rows_by_group_is_a_search_for_each_group(groups: list[int], count: int) -> None:
    found = rows_by_group(np.array(groups, dtype=np.int64), count)
    expected = [[row for row, group in enumerate(groups) if group == number] for number in range(count)]
    assert [rows.tolist() for rows in found] == expected
    assert all(rows.dtype == np.int64 for rows in found)


def test_distinct_values_come_in_the_order_of_their_appearance() -> None:
    values, places = distinct_values(labelled([3, None, 0, 3], "text"), "label")
    assert (values, places.tolist()) == (["d", None, "a"], [0, 1, 2, 0])


def test_numbers_get_names_and_other_columns_stay() -> None:
    rows = Dataset.from_dict(
        {"label": [2, 0, -100, None], "text": ["w", "x", "y", "z"]},
        features=Features({"label": Value("int8"), "text": Value("string")}),
    ).select([3, 2, 1, 0])
    named = name_labels(rows, "label", np.array([-100, -100, 0, 2]), NAMES)
    assert named.features == Features({"label": ClassLabel(names=NAMES), "text": Value("string")})
    assert named.column_names == ["label", "text"]
    assert named.to_dict() == {"label": [-1, -1, 0, 2], "text": ["z", "y", "x", "w"]}
    assert rows.features["label"] == Value("int8")


def test_the_cache_knows_named_labels_again() -> None:
    rows = labelled([1, 0], "numbers").select([1, 0])
    first, second, other = (name_labels(rows, "label", np.array(ids), NAMES) for ids in ([0, 1], [0, 1], [1, 1]))
    assert first._fingerprint == second._fingerprint != other._fingerprint


@pytest.mark.parametrize("column", ["names", "text"])
def test_names_stay_as_they_are(column: str) -> None:
    rows = labelled([1, 0], column)
    assert name_labels(rows, "label", np.array([1, 0]), NAMES) is rows
