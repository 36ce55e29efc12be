"""The runs of a comparison."""

from __future__ import annotations

import pytest

from mt_transformers.baselines.runs import BaselineRun, list_runs
from mt_transformers.errors import InputError


def test_runs_come_seed_by_seed() -> None:
    assert [run.name for run in list_runs(["a", "b", "c"], [3, 4], leave_one_out=True)] == [
        "multi-seed3",
        "single-a-seed3",
        "single-b-seed3",
        "single-c-seed3",
        "without-a-seed3",
        "without-b-seed3",
        "without-c-seed3",
        "multi-seed4",
        "single-a-seed4",
        "single-b-seed4",
        "single-c-seed4",
        "without-a-seed4",
        "without-b-seed4",
        "without-c-seed4",
    ]


@pytest.mark.parametrize(
    ("run", "tasks"),
    [
        (BaselineRun(kind="multi", seed=0), ["a", "b", "c"]),
        (BaselineRun(kind="single", seed=0, task="b"), ["b"]),
        (BaselineRun(kind="without", seed=0, task="b"), ["a", "c"]),
    ],
)
def test_tasks_of_a_run(run: BaselineRun, tasks: list[str]) -> None:
    assert run.tasks(["a", "b", "c"]) == tasks


def test_too_few_tasks() -> None:
    with pytest.raises(InputError, match="expected at least two tasks, found a"):
        list_runs(["a"], [0])
    with pytest.raises(InputError, match="at least three tasks, of which one is left out, found a, b"):
        list_runs(["a", "b"], [0], leave_one_out=True)


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_that_do_not_differ(seeds: list[int]) -> None:
    with pytest.raises(InputError, match="expected seeds that differ"):
        list_runs(["a", "b"], seeds)
