"""Rows grouped by length: no row is lost, batches do not overlap in length, and chance has the rest."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.data.length_groups import LENGTH_GROUP_WINDOW, group_by_length, group_within_tasks


def batches_of(lengths: list[int], batch_size: int, seed: int) -> list[list[int]]:
    """The places of the rows of each batch."""
    order = group_by_length(np.array(lengths, dtype=np.int32), batch_size, np.random.default_rng(seed)).tolist()
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


@given(
    lengths=st.lists(st.integers(1, 6), max_size=40),
    batch_size=st.integers(1, 7),
    seed=st.integers(0, 99),
)
def test_sorted_rows_are_cut_into_batches(lengths: list[int], batch_size: int, seed: int) -> None:
    batches = batches_of(lengths, batch_size, seed)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    found = [[lengths[place] for place in batch] for batch in batches]
    # put back in the order of their lengths, the batches are the sorted rows
    in_order = sorted(found, key=lambda each: (min(each), max(each)))
    assert [length for batch in in_order for length in batch] == sorted(lengths)


def test_every_batch_may_be_the_short_one_and_every_order_is_as_likely() -> None:
    # [1 2] [3 4] [5] [1 2] [3] [4 5] [1] [2 3] [4 5], the short one last and the others either way
    rng = np.random.default_rng(0)
    lengths = np.array([3, 1, 5, 4, 2])
    seen = Counter(tuple(lengths[group_by_length(lengths, 2, rng)].tolist()) for _ in range(1200))
    assert set(seen) == {
        (1, 2, 3, 4, 5),
        (3, 4, 1, 2, 5),
        (1, 2, 4, 5, 3),
        (4, 5, 1, 2, 3),
        (2, 3, 4, 5, 1),
        (4, 5, 2, 3, 1),
    }
    # 4 standard deviations are 52
    assert all(abs(count - 200) < 52 for count in seen.values())


def test_rows_of_one_length_come_in_any_order() -> None:
    rng = np.random.default_rng(0)
    seen = Counter(tuple(group_by_length(np.array([7, 7, 7]), 3, rng).tolist()) for _ in range(1200))
    assert len(seen) == 6
    assert all(abs(count - 200) < 52 for count in seen.values())


@given(data=st.data(), rows=st.integers(0, 40), batch_size=st.integers(1, 7), seed=st.integers(0, 99))
def test_every_place_keeps_its_task(data: st.DataObject, rows: int, batch_size: int, seed: int) -> None:
    lengths, tasks = (
        np.array(data.draw(st.lists(st.integers(0, most), min_size=rows, max_size=rows)), dtype=np.int64)
        for most in (6, 2)
    )
    order = group_within_tasks(lengths, tasks, batch_size, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(rows))
    assert tasks[order].tolist() == tasks.tolist()
    for task in range(3):
        # put in the order of their lengths, what the batches have of a task are its sorted rows
        found = [
            sorted(lengths[order][start : start + batch_size][tasks[start : start + batch_size] == task].tolist())
            for start in range(0, rows, batch_size)
        ]
        in_order = sorted((each for each in found if each), key=lambda each: (each[0], each[-1]))
        assert [length for each in in_order for length in each] == sorted(lengths[tasks == task].tolist())


def test_chance_orders_the_batches_and_rows_of_one_length() -> None:
    rng = np.random.default_rng(0)
    lengths, tasks = np.array([1, 2, 3, 4]), np.array([0, 1, 0, 1])
    seen = Counter(tuple(group_within_tasks(lengths, tasks, 2, rng).tolist()) for _ in range(1000))
    assert set(seen) == {(0, 1, 2, 3), (2, 3, 0, 1)}
    # 4 standard deviations are 63
    assert all(abs(count - 500) < 64 for count in seen.values())
    alike = Counter(tuple(group_within_tasks(lengths * 0, tasks * 0, 4, rng).tolist()) for _ in range(2400))
    assert len(alike) == 24
    assert all(abs(count - 100) < 40 for count in alike.values())


@pytest.mark.parametrize("lengths", [[], [4]])
def test_less_than_a_batch(lengths: list[int]) -> None:
    assert batches_of(lengths, 4, 0) == [[0]] * len(lengths)


def test_the_window_is_that_of_transformers() -> None:
    assert LENGTH_GROUP_WINDOW == 50
