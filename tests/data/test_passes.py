"""Shuffled passes: the orders are numpy's permutations, whatever the portions they are read in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.data.passes import ShuffledPasses


def permutations(size: int, seed: int, task: int, passes: int) -> list[int]:
    """The first passes over a task, one behind the other."""
    orders = [np.random.default_rng([seed, task, number, 1]).permutation(size) for number in range(passes)]
    return [int(row) for order in orders for row in order]


@given(
    size=st.integers(1, 9),
    seed=st.integers(0, 5),
    task=st.integers(0, 3),
    first=st.integers(0, 30),
    counts=st.lists(st.integers(0, 12), max_size=6),
)
def test_portions_are_cut_out_of_endless_passes(
    size: int, seed: int, task: int, first: int, counts: list[int]
) -> None:
    passes = ShuffledPasses(size, seed, task, first)
    found = [passes.take(count).tolist() for count in counts]
    assert [len(each) for each in found] == counts
    end = first + sum(counts)
    assert [row for rows in found for row in rows] == permutations(size, seed, task, end // size + 1)[first:end]


@pytest.mark.parametrize("size", [1, 1000, 70_000])
def test_a_pass_has_every_row_once(size: int) -> None:
    passes = ShuffledPasses(size, seed=0, task=0)
    for _ in range(2):
        assert sorted(passes.take(size).tolist()) == list(range(size))


def test_a_task_without_rows_has_nothing_to_give() -> None:
    assert ShuffledPasses(0, seed=0, task=0).take(0).tolist() == []


def test_rows_are_small_numbers() -> None:
    assert ShuffledPasses(3, seed=0, task=0).take(5).dtype == np.int32
