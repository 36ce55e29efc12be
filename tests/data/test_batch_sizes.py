"""Batches of a size of each task's own."""

from __future__ import annotations

from typing import Any

import pytest

from mt_transformers.data import Mixture, MultiTaskBatchSampler, plan_mixture
from mt_transformers.errors import InputError

SIZES = {"a": 9, "b": 9}


def batches_of(batch_sizes: dict[str, int] | None, batch_size: int = 7, **options: Any) -> list[str]:
    """The tasks of the rows of each batch, one letter each; `_` for a filler."""
    mixture = Mixture(order="round_robin", batches="homogeneous", batch_sizes=batch_sizes)
    sampler = MultiTaskBatchSampler(SIZES, mixture, batch_size, **options)
    batches = list(sampler)
    assert len(sampler) == len(batches)
    rows = [row for batch in batches for row in batch if row >= 0]
    assert len(set(rows)) == len(rows)
    return ["".join("_" if row < 0 else "ab"[row // 9] for row in batch) for batch in batches]


def test_the_known_sequence() -> None:
    expected = ["aa", "bbb", "aa", "bbb", "aa", "bbb", "aa", "a"]
    assert batches_of({"a": 2, "b": 3}) == expected
    # the order of the entries is of no account
    assert batches_of({"b": 3, "a": 2}) == expected


def test_drop_last_leaves_out_what_is_short_for_its_task() -> None:
    assert batches_of({"a": 2, "b": 3}, drop_last=True) == ["aa", "bbb", "aa", "bbb", "aa", "bbb", "aa"]
    assert batches_of({"a": 9, "b": 4}, drop_last=True) == ["a" * 9, "bbbb", "bbbb"]


def test_several_processes_share_a_batch() -> None:
    # a comes in 4 + 4 + 1 rows, b in 6 + 3
    expected = ["aa", "aa", "bbb", "bbb", "aa", "aa", "bb", "b", "a", "_"]
    assert batches_of({"a": 2, "b": 3}, num_processes=2) == expected
    assert batches_of({"a": 2, "b": 3}, num_processes=2, drop_last=True) == expected[:6]
    # 6 + 3, and 9
    assert batches_of({"a": 2, "b": 3}, num_processes=3) == ["aa"] * 3 + ["bbb"] * 3 + ["a"] * 3


@pytest.mark.parametrize("options", [{}, {"drop_last": True}])
def test_processes_and_batch_size_share_one_number(options: dict[str, Any]) -> None:
    """Two processes with 2 and 1 rows take what one process with 4 and 2 takes."""
    one, two = batches_of({"a": 4, "b": 2}, **options), batches_of({"a": 2, "b": 1}, num_processes=2, **options)
    joined = ["".join(two[step : step + 2]).replace("_", "") for step in range(0, len(two), 2)]
    assert joined == one


@pytest.mark.parametrize("batch_sizes", [None, {}, {"b": 3}, {"a": 3}])
def test_other_tasks_have_the_batch_size_of_the_run(batch_sizes: dict[str, int] | None) -> None:
    sizes = {"a": 2, "b": 2, **(batch_sizes or {})}
    assert batches_of(batch_sizes, 2) == batches_of(sizes, 7)
    assert max(len(batch) for batch in batches_of(batch_sizes, 2) if "a" in batch) == sizes["a"]


def test_the_plan_counts_these_batches() -> None:
    mixture = Mixture(batches="homogeneous", batch_sizes={"a": 2, "b": 3})
    plan = plan_mixture(SIZES, mixture, 7, {"a": ["x"], "b": ["y"]})
    assert ([task.batches for task in plan.tasks], plan.batches) == ([5, 3], 8)
    plan = plan_mixture(SIZES, mixture, 7, {"a": ["x"], "b": ["y"]}, drop_last=True)
    assert [(task.batches, task.rows_per_epoch) for task in plan.tasks] == [(4, 8), (3, 9)]


@pytest.mark.parametrize("value", [0, -1, 2.5, 2.0, True, "3", None])
def test_sizes_that_are_refused(value: Any) -> None:
    with pytest.raises(InputError) as caught:
        Mixture(batches="homogeneous", batch_sizes={"a": 2, "b": value})
    assert f"expected a batch size of at least 1 for task 'b', found {value!r}" in str(caught.value)


def test_an_unknown_task_is_refused() -> None:
    mixture = Mixture(batches="homogeneous", batch_sizes={"a": 2, "bb": 3})
    for use in (mixture.rows_per_epoch, lambda sizes: MultiTaskBatchSampler(sizes, mixture, 2)):
        with pytest.raises(InputError, match="mixture, batch_sizes: unknown task 'bb', did you mean 'b'"):
            use(SIZES)


def test_mixed_batches_are_refused() -> None:
    with pytest.raises(InputError, match="batch_sizes belong to homogeneous batches"):
        Mixture(batch_sizes={"a": 2})


def test_an_epoch_without_a_full_batch_is_refused() -> None:
    """The message has the sizes that count."""
    mixture = Mixture(batches="homogeneous", batch_sizes={"a": 8})
    with pytest.raises(InputError) as caught:
        MultiTaskBatchSampler({"a": 5}, mixture, 2, drop_last=True)
    assert "an epoch of 5 rows has no batch of 8 rows" in str(caught.value)
