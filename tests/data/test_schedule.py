"""Orders of tasks: known sequences, and that none loses or adds a turn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.data.schedule import ORDERS, random_order, round_robin, sequential


def order_of(name: str, counts: list[int], seed: int = 0) -> list[int]:
    """The sequence of tasks as a list."""
    return ORDERS[name](np.array(counts), np.random.default_rng(seed)).tolist()


def test_the_names_of_the_orders() -> None:
    assert list(ORDERS.items()) == [("random", random_order), ("round_robin", round_robin), ("sequential", sequential)]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([5, 3], [0, 1, 0, 1, 0, 1, 0, 0]),
        ([1, 3, 2], [0, 1, 2, 1, 2, 1]),
        ([0, 2, 1], [1, 2, 1]),
        ([3], [0, 0, 0]),
    ],
)
def test_round_robin(counts: list[int], expected: list[int]) -> None:
    assert order_of("round_robin", counts) == expected


@pytest.mark.parametrize(("counts", "expected"), [([2, 3], [0, 0, 1, 1, 1]), ([1, 0, 2], [0, 2, 2])])
def test_sequential(counts: list[int], expected: list[int]) -> None:
    assert order_of("sequential", counts) == expected


@pytest.mark.parametrize("name", list(ORDERS))
@pytest.mark.parametrize(("tasks", "dtype"), [(1, np.uint8), (256, np.uint8), (257, np.uint16)])
def test_tasks_are_numbers_as_small_as_they_can_be(name: str, tasks: int, dtype: type) -> None:
    order = ORDERS[name](np.full(tasks, 2), np.random.default_rng(0))
    assert order.dtype == dtype
    assert sorted(order.tolist()) == sorted([*range(tasks)] * 2)


@given(counts=st.lists(st.integers(0, 8), min_size=1, max_size=5))
def test_round_robin_turn_by_turn(counts: list[int]) -> None:
    expected = [task for turn in range(8) for task, count in enumerate(counts) if turn < count]
    assert order_of("round_robin", counts) == expected


@given(counts=st.lists(st.integers(0, 8), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_random_is_a_permutation_of_numpys(counts: list[int], seed: int) -> None:
    tasks = np.array([task for task, count in enumerate(counts) for _ in range(count)], dtype=np.int64)
    assert order_of("random", counts, seed) == np.random.default_rng(seed).permutation(tasks).tolist()


def test_random_follows_the_generator_alone() -> None:
    counts = [20, 20]
    assert order_of("random", counts, seed=0) == order_of("random", counts, seed=0)
    assert order_of("random", counts, seed=0) != order_of("random", counts, seed=1)


def test_random_gives_every_order_the_same_chance() -> None:
    rng = np.random.default_rng(0)
    seen = Counter(tuple(random_order(np.array([2, 2]), rng).tolist()) for _ in range(1200))
    # 6 orders of 2 + 2, 200 times each but for chance (4 standard deviations are 52)
    assert len(seen) == 6
    assert all(abs(count - 200) < 52 for count in seen.values())


@given(counts=st.lists(st.integers(0, 8), min_size=1, max_size=4), name=st.sampled_from(list(ORDERS)))
def test_every_task_gets_its_turns(counts: list[int], name: str) -> None:
    order = order_of(name, counts)
    assert np.bincount(np.array(order, dtype=np.int64), minlength=len(counts)).tolist() == counts
