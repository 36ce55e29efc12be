"""The order of rows whose number shows only when they end, against counting it out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_transformers.data.interleaving import RowSource, interleave
from mt_transformers.data.schedule import ORDERS

Rows = tuple[int, int, int]
"""Task, how often its rows were begun again, row."""


def source(task: int, rows: int) -> RowSource[Rows]:
    def begin(begun: int) -> Iterator[Rows]:
        return ((task, begun, row) for row in range(rows))

    return RowSource(begin)


def taken(
    sizes: list[int], order: str, stop: str, shares: list[float] | None = None, seed: int = 0, first: int = 0
) -> Iterator[Rows]:
    sources = [source(task, rows) for task, rows in enumerate(sizes)]
    shares = shares or [1 / len(sizes)] * len(sizes)
    return interleave(sources, order, stop, shares, np.random.default_rng(seed), first)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_source_knows_its_last_row(rows: int) -> None:
    some = source(0, rows)
    assert some.empty == (rows == 0)
    assert some.used_up == (rows == 0)
    seen = []
    for _ in range(2 * rows):
        seen.append(some.take())
        assert some.used_up == (len(seen) >= rows)
        assert not some.empty
    assert seen == [(0, begun, row) for begun in range(2) for row in range(rows)]


SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@given(SIZES, st.sampled_from(list(ORDERS)), st.integers(0, 5))
def test_all_takes_each_row_once(sizes: list[int], order: str, seed: int) -> None:
    expected = [(task, 0, row) for task, rows in enumerate(sizes) for row in range(rows)]
    assert sorted(taken(sizes, order, "all", seed=seed)) == expected


@given(SIZES, st.sampled_from(["random", "round_robin"]), st.integers(0, 5))
def test_first_ends_with_the_first_task_that_ends(sizes: list[int], order: str, seed: int) -> None:
    rows = list(taken(sizes, order, "first", seed=seed))
    counts = Counter(task for task, _, _ in rows)
    assert {begun for _, begun, _ in rows} == {0}
    # the last row ends its task, which no other one did
    assert [task for task, size in enumerate(sizes) if counts[task] >= size] == [rows[-1][0]]


@given(SIZES, st.sampled_from(["random", "round_robin"]), st.integers(0, 5))
def test_longest_ends_when_the_last_task_was_used_up(sizes: list[int], order: str, seed: int) -> None:
    rows = list(taken(sizes, order, "longest", seed=seed))
    for task, size in enumerate(sizes):
        own = [row[1:] for row in rows if row[0] == task]
        assert len(own) >= size
        assert own == [(number // size, number % size) for number in range(len(own))]
    last = rows[-1][0]
    assert rows[-1] == (last, 0, sizes[last] - 1)


@given(SIZES, st.integers(0, 3))
def test_round_robin_is_that_of_known_numbers(sizes: list[int], first: int) -> None:
    first %= len(sizes)
    turned = sizes[first:] + sizes[:first]
    expected = ORDERS["round_robin"](np.array(turned), np.random.default_rng(0))
    found = [task for task, _, _ in taken(sizes, "round_robin", "all", first=first)]
    assert found == [(task + first) % len(sizes) for task in expected.tolist()]


@pytest.mark.parametrize("stop", ["all", "first", "longest"])
def test_sequential_has_each_row_once_whatever_the_stop(stop: str) -> None:
    assert list(taken([2, 0, 3], "sequential", stop)) == [(0, 0, 0), (0, 0, 1), (2, 0, 0), (2, 0, 1), (2, 0, 2)]


@pytest.mark.parametrize("stop", ["all", "first", "longest"])
@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.9, 0.1], [0.2, 0.3, 0.5]])
def test_random_order_keeps_the_shares(shares: list[float], stop: str) -> None:
    number = 5000
    counts = Counter(task for task, _, _ in islice(taken([10_000] * len(shares), "random", stop, shares), number))
    for task, share in enumerate(shares):
        assert abs(counts[task] - share * number) < 4 * math.sqrt(share * (1 - share) * number)


def test_a_rare_task_that_is_left_alone_is_not_waited_for() -> None:
    """One in a thousand million: 20 rows of it would be drawn in an hour."""
    rows = list(taken([3, 20], "random", "all", [1 - 1e-9, 1e-9]))
    assert [task for task, _, _ in rows] == [0] * 3 + [1] * 20


def test_tasks_without_a_row_drop_out() -> None:
    assert [task for task, _, _ in taken([2, 0, 1], "round_robin", "all")] == [0, 2, 0]
    assert list(taken([2, 0], "round_robin", "first")) == []


@pytest.mark.parametrize("make", [lambda: taken([30, 20], "random", "all", seed=1)])
def test_the_seed_settles_the_order(make: Callable[[], Iterator[Rows]]) -> None:
    assert list(make()) == list(make())
    assert list(make()) != list(taken([30, 20], "random", "all", seed=2))
