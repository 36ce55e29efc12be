"""Batches in parts, one a task."""

from __future__ import annotations

from typing import Any

from mt_transformers.data import TASK_INDEX
from mt_transformers.data.parts import CollatorByTask, parts_of


def collate(rows: Any) -> dict[str, Any]:
    return {"ids": [row["id"] for row in rows]}


def batch_of(*tasks: int) -> dict[str, Any]:
    return CollatorByTask(collate)([{"id": number, TASK_INDEX: task} for number, task in enumerate(tasks)])


def test_rows_stay_in_order_and_parts_in_that_of_the_tasks() -> None:
    assert batch_of(2, 0, 2, 1) == {"parts": {0: {"ids": [1]}, 1: {"ids": [3]}, 2: {"ids": [0, 2]}}}


def test_rows_that_fill_up_a_batch_are_left_out_where_there_are_others() -> None:
    assert batch_of(0, -1, -1) == {"parts": {0: {"ids": [0]}}}
    # a process without rows of its own takes part all the same
    assert batch_of(-1, -1) == {"parts": {-1: {"ids": [0, 1]}}}


def test_a_batch_is_a_part_of_itself() -> None:
    assert parts_of(batch_of(1, 0)) == [{"ids": [1]}, {"ids": [0]}]
    assert parts_of({"ids": [0]}) == [{"ids": [0]}]
