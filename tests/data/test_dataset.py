"""The rows of all tasks under one numbering."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.data import TASK_INDEX, MultiTaskDataset

ROWS = [
    {"x": 10, "labels_a": 0, "task_index": 0},
    {"x": 11, "labels_a": 1, "task_index": 0},
    {"x": 12, "labels_a": 2, "task_index": 0},
    {"x": 20, "y": [1, 2], "task_index": 1},
    {"x": 30, "labels_c": None, "task_index": 2},
    {"x": 31, "labels_c": 0.5, "task_index": 2},
]


def make() -> MultiTaskDataset:
    """Three tasks of 3, 1 and 2 rows, each with columns of its own."""
    return MultiTaskDataset(
        {
            "a": Dataset.from_dict({"x": [10, 11, 12], "labels_a": [0, 1, 2]}),
            "b": Dataset.from_dict({"x": [20], "y": [[1, 2]]}),
            "c": Dataset.from_dict({"x": [30, 31], "labels_c": [None, 0.5]}),
        }
    )


DATASET = make()

FILLERS = [
    {"x": 10, "task_index": -1},
    {"x": 11, "task_index": -1},
    {"x": 12, "task_index": -1},
    {"x": 20, "y": [1, 2], "task_index": -1},
    {"x": 30, "task_index": -1},
    {"x": 31, "task_index": -1},
]


def expected(number: int) -> dict[str, object]:
    """The row of a number from 0 up, the filler of one below."""
    return ROWS[number] if number >= 0 else FILLERS[-1 - number]


def test_one_task_behind_the_other() -> None:
    rows = make()
    assert (len(rows), rows.sizes, rows.task_names) == (6, [3, 1, 2], ["a", "b", "c"])
    assert [rows[number] for number in range(6)] == ROWS
    assert list(rows) == ROWS
    assert TASK_INDEX == "task_index"


def test_a_batch_keeps_order_and_duplicates() -> None:
    assert make().__getitems__([5, 0, 3, 0, 4, 2]) == [ROWS[number] for number in (5, 0, 3, 0, 4, 2)]


def test_a_negative_number_is_a_row_without_labels() -> None:
    rows = make()
    assert [rows[-1 - number] for number in range(6)] == FILLERS
    # -1 is no row from behind
    assert rows[-1] == {"x": 10, "task_index": -1}
    # the row itself stays as it was
    assert list(rows) == ROWS


def test_fillers_keep_order_and_duplicates() -> None:
    numbers = [~5, 0, 3, ~0, 0, ~3, ~0, 4, 2, ~4]
    assert make().__getitems__(numbers) == [expected(number) for number in numbers]
    assert make().__getitems__([~1]) == [FILLERS[1]]


@pytest.mark.parametrize("numbers", [(1, 1), (~1, ~1), (~1, 1), (1, ~1)])
def test_duplicates_are_not_one_object(numbers: tuple[int, int]) -> None:
    first, second = make().__getitems__(numbers)
    first["x"] = first["task_index"] = None
    assert second == expected(numbers[1])


@given(st.lists(st.integers(-6, 5), min_size=1, max_size=12))
def test_batched_reads_equal_single_reads(numbers: list[int]) -> None:
    batch = DATASET.__getitems__(numbers)
    assert batch == [DATASET[number] for number in numbers] == [expected(number) for number in numbers]
    # task by task the same columns, in their order
    assert [list(row) for row in batch] == [list(expected(number)) for number in numbers]


def test_no_numbers_are_no_rows() -> None:
    assert make().__getitems__([]) == []


@pytest.mark.parametrize("number", [6, 100, -7, -101])
def test_there_is_no_such_row(number: int) -> None:
    with pytest.raises(IndexError):
        make()[number]
    with pytest.raises(IndexError):
        make().__getitems__([0, number, ~1])


def test_a_selection_of_rows_has_its_own_numbers() -> None:
    chosen = Dataset.from_dict({"x": [0, 1, 2, 3]}).select([3, 1])
    rows = MultiTaskDataset({"a": chosen, "b": Dataset.from_dict({"x": [9]})})
    assert [row["x"] for row in rows.__getitems__([2, 0, 1])] == [9, 3, 1]


def test_a_task_without_rows_takes_no_numbers() -> None:
    rows = MultiTaskDataset({"a": Dataset.from_dict({"x": []}), "b": Dataset.from_dict({"x": [1, 2]})})
    assert [rows[0], rows[1]] == [{"x": 1, "task_index": 1}, {"x": 2, "task_index": 1}]
    assert [rows[~0], rows[~1]] == [{"x": 1, "task_index": -1}, {"x": 2, "task_index": -1}]


def test_lengths_are_those_of_all_rows() -> None:
    chosen = Dataset.from_dict({"length": [4, 3, 2, 1], "x": [0] * 4}).select([3, 1])
    joined = Dataset.from_dict({"length": [9, 8]}).with_format("numpy", columns=["length"])
    empty = Dataset.from_dict({"length": [1]}).select([])
    found = MultiTaskDataset({"a": chosen, "b": empty, "c": joined}).lengths()
    assert (found.tolist(), found.dtype) == ([1, 3, 9, 8], np.int32)


def test_lengths_beside_arrays() -> None:
    """Splits with images or audio give arrays of some columns, and are put together of several tables."""
    rows = Dataset.from_dict({"length": [1, 2], "audio": [[0.0], [0.5, 0.25]]})
    assert MultiTaskDataset({"a": rows.with_format("numpy", columns=["audio"])}).lengths().tolist() == [1, 2]


def test_lengths_of_many_rows_are_read_part_by_part() -> None:
    lengths = np.arange(600_000) % 128
    rows = MultiTaskDataset({"a": Dataset.from_dict({"length": lengths}), "b": Dataset.from_dict({"length": [7, 6]})})
    tracemalloc.start()
    found = rows.lengths()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.tolist() == [*lengths.tolist(), 7, 6]
    assert peak < 10 * len(rows)
