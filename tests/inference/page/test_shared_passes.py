"""Rows of several threads share a pass, and each thread gets its own result."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from time import monotonic, sleep

import pytest

from mt_transformers.inference.page.shared_passes import SharedPasses

SECONDS = 30


class Passes:
    """Passes that wait until they may go on, and remember their rows."""

    def __init__(self, max_rows: int = 32) -> None:
        self.made: list[tuple[list[int], Hashable]] = []
        self.begun, self.go = Event(), Event()
        self.shared: SharedPasses[int, int] = SharedPasses(self.run, max_rows)

    def run(self, rows: Sequence[int], options: Hashable) -> list[int]:
        self.begun.set()
        assert self.go.wait(SECONDS)
        self.made.append((list(rows), options))
        if 13 in rows:
            raise RuntimeError("no luck")
        return [row * row for row in rows]

    def ask(self, pool: ThreadPoolExecutor, rows: Sequence[tuple[int, str]]) -> list[Future[int]]:
        """Ask for the rows one behind the other; the first is in its pass when the others come."""
        futures = []
        for row, options in rows:
            futures.append(pool.submit(self.shared, row, options))
            until = monotonic() + SECONDS
            while not (self.begun.is_set() and self.shared.waiting == len(futures) - 1) and monotonic() < until:
                sleep(0.001)
            assert self.shared.waiting == len(futures) - 1
        return futures


def test_what_waits_goes_together() -> None:
    passes = Passes()
    with ThreadPoolExecutor(6) as pool:
        futures = passes.ask(pool, [(row, "a") for row in range(6)])
        passes.go.set()
        assert [future.result(SECONDS) for future in futures] == [0, 1, 4, 9, 16, 25]
    assert passes.made[0] == ([0], "a")
    assert len(passes.made) == 2
    assert sorted(passes.made[1][0]) == [1, 2, 3, 4, 5]


def test_options_are_kept_apart_and_passes_small() -> None:
    passes = Passes(max_rows=2)
    with ThreadPoolExecutor(8) as pool:
        futures = passes.ask(pool, [(row, "odd" if row % 2 else "even") for row in range(8)])
        passes.go.set()
        assert [future.result(SECONDS) for future in futures] == [row * row for row in range(8)]
    assert sorted(row for rows, _ in passes.made for row in rows) == list(range(8))
    for rows, options in passes.made:
        assert len(rows) <= 2
        assert {"odd" if row % 2 else "even" for row in rows} == {options}


def test_a_failure_reaches_its_own_thread_and_the_next_pass_is_made() -> None:
    passes = Passes()
    with ThreadPoolExecutor(4) as pool:
        futures = passes.ask(pool, [(row, "a") for row in (13, 2, 3, 4)])
        passes.go.set()
        with pytest.raises(RuntimeError, match="no luck"):
            futures[0].result(SECONDS)
        assert [future.result(SECONDS) for future in futures[1:]] == [4, 9, 16]


def test_rows_whose_shared_pass_failed_are_run_again() -> None:
    passes = Passes()
    with ThreadPoolExecutor(5) as pool:
        futures = passes.ask(pool, [(row, "a") for row in (1, 2, 13, 3)])
        passes.go.set()
        failed = [future.exception(SECONDS) is not None for future in futures]
    assert failed[2]
    # whoever made the pass that row 13 was in has its exception, too
    assert failed.count(True) <= 2
    for future, row, wrong in zip(futures, (1, 2, 13, 3), failed, strict=True):
        assert wrong or future.result() == row * row
